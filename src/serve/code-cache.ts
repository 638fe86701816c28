/**
 * Where Node keeps compiled code between starts, so that a worker that takes
 * another's place is there in half the time and with less memory.
 *
 * Who can write there can run code as this user: the directory must be this
 * user's own and closed to all others, else there is none.
 */
import { existsSync, lstatSync, mkdirSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** For the environment of worker processes. */
export function codeCache(environment: NodeJS.ProcessEnv): { NODE_COMPILE_CACHE?: string } {
  if (environment.NODE_COMPILE_CACHE !== undefined) return {};
  const directory = ownDirectory(environment);
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: directory };
}

/** A killed worker would keep what it compiled to itself; called when everything is loaded. */
export function keepCode(): void {
  flushCompileCache();
}

function ownDirectory(environment: NodeJS.ProcessEnv): string | undefined {
  const uid = process.getuid?.();
  if (uid === undefined) return undefined;
  // systemd's CacheDirectory=, which may be several.
  const [given] = (environment.CACHE_DIRECTORY ?? "").split(":");
  const path = given ? join(given, "code") : join(tmpdir(), `postlua-code-${uid}`);
  try {
    // Its parent is there. Not recursively, which never ends where there can be no directories, such as in /proc.
    if (!existsSync(path)) mkdirSync(path, { mode: 0o700 });
    const found = lstatSync(path);
    return found.isDirectory() && found.uid === uid && (found.mode & 0o077) === 0 ? path : undefined;
  } catch {
    return undefined;
  }
}
