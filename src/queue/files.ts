/** Files of an instance's queue worker, below data_dir: named for the instance's queue directory, so that several never meet. */
import { realpathSync } from "node:fs";
import { join } from "node:path";

export interface WorkerFiles {
  readonly journal: string;
  readonly lock: string;
}

export function workerFiles(dataDir: string, queueDirectory: string): WorkerFiles {
  const name = real(queueDirectory)
    .replace(/^\/+/, "")
    .replaceAll(/[^A-Za-z0-9.]+/g, "-");
  return { journal: join(dataDir, `queue-${name}.db`), lock: join(dataDir, `queue-${name}.lock`) };
}

/** The same directory by another path is the same instance. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
