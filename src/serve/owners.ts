/**
 * Who serves which client: one worker for all that comes of one SMTP session,
 * by whichever door. Lives in the primary.
 *
 * Everything handed to a worker about a client has a number; a worker that has
 * ended a session says which was the last it had of it, so that what was on
 * its way meanwhile is never sent to a worker that has begun anew elsewhere.
 */
import type { WorkerProcess } from "./worker-process.ts";

interface Entry {
  /** undefined: it died, and with it the session. */
  worker: WorkerProcess | undefined;
  /** Number of what was handed over last. */
  last: number;
  lostAt: number;
}

/** A session whose worker died is remembered as long, at most. */
const LOST_MS = 600_000;

export class Owners {
  readonly #byKey = new Map<string, Entry>();
  #numbers = 0;

  get size(): number {
    return this.#byKey.size;
  }

  /** "none": nobody serves this client; "lost": its worker died in the middle of its session. */
  of(key: string): WorkerProcess | "none" | "lost" {
    const entry = this.#byKey.get(key);
    return entry === undefined ? "none" : (entry.worker ?? "lost");
  }

  /** Something is handed to a worker. @returns its number */
  hand(key: string, worker: WorkerProcess): number {
    const last = ++this.#numbers;
    const entry = this.#byKey.get(key);
    if (entry === undefined) this.#byKey.set(key, { worker, last, lostAt: 0 });
    else {
      entry.worker = worker;
      entry.last = last;
    }
    return last;
  }

  forget(key: string): void {
    this.#byKey.delete(key);
  }

  /** A worker has ended a session; `last` is the number it had last. */
  over(worker: WorkerProcess, key: string, last: number): void {
    const entry = this.#byKey.get(key);
    if (entry?.worker === worker && entry.last === last) this.#byKey.delete(key);
  }

  /** A worker is gone. */
  gone(worker: WorkerProcess): void {
    const now = performance.now();
    for (const [key, entry] of this.#byKey) {
      if (entry.worker === worker) {
        entry.worker = undefined;
        entry.lostAt = now;
      } else if (entry.worker === undefined && now - entry.lostAt > LOST_MS) this.#byKey.delete(key);
    }
  }
}

/**
 * What names a client while it is connected. A client may use one port towards several of ours; "" stands for what
 * the MTA does not tell.
 * @returns undefined when it tells too little
 */
export function clientKey(address: string, port: string, serverPort: string): string | undefined {
  if (address === "" || address === "unknown" || !/^[1-9]\d*$/.test(port)) return undefined;
  return `${address.toLowerCase()} ${port} ${/^\d+$/.test(serverPort) ? serverPort : ""}`;
}
