/** What keeps the service from starting and can be seen beforehand; `postlua check` tells it, too. */
import { accessSync, constants } from "node:fs";
import type { Config } from "../config/load.ts";

/** The first directory that is missing or closed to this process; undefined when all are there. */
export function directoryProblem(config: Config): string | undefined {
  const { R_OK, W_OK, X_OK } = constants;
  const wanted: [string, string, number][] = [
    ["data_dir", config.data_dir, R_OK | X_OK],
    ["log_dir", config.log_dir, W_OK | X_OK],
  ];
  for (const [key, directory, mode] of wanted) {
    try {
      accessSync(directory, mode);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return `${key} ${directory}: ${code === "ENOENT" ? "no such directory; make it" : `not accessible (${code})`}, or set another ${key} in ${config.file}`;
    }
  }
  return undefined;
}
