/**
 * Finding and reading the Lua files that scripts load: below the data directory
 * first, then below the scripts directory, and nowhere else, links followed
 * before the check. A name that is not found as written is looked for in any
 * case, because the scripts come from Windows. Binary chunks are refused by
 * the compiler.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve, sep } from "node:path";
import { decodeText } from "../bytes.ts";
import type { ClosedFiles } from "../config/closed-files.ts";
import { CLOSED, failureOf } from "./system-error.ts";

/** A larger file is no script. */
const MAX_BYTES = 4 * 1024 * 1024;

export interface ScriptRoots {
  readonly dataDir: string;
  readonly scriptsDir: string;
  readonly closedFiles: ClosedFiles;
}

/**
 * The contents of the script called `name` (a byte string), or why it cannot be
 * had. `temporary` names are those that os.tmpname has given out: scripts write
 * code there and load it.
 */
export function readScript(
  roots: ScriptRoots,
  name: string,
  temporary: ReadonlySet<string> = new Set(),
): Uint8Array | string {
  const text = decodeText(name);
  if (temporary.has(name)) return readFile(text, roots.closedFiles);
  if (text === "" || text.includes("\0")) return "No such file or directory";
  let problem = "No such file or directory";
  for (const root of new Set([roots.dataDir, roots.scriptsDir])) {
    const path = locate(root, text);
    if (path === undefined) continue;
    const read = readFile(path, roots.closedFiles);
    if (typeof read !== "string") return read;
    problem = read;
  }
  return problem;
}

/** The real path of `name` below `root`; undefined when there is none or it leads elsewhere. */
function locate(root: string, name: string): string | undefined {
  const path = isAbsolute(name) ? resolve(name) : resolve(root, name);
  const found = realPath(path) ?? realPath(findAnyCase(root, path));
  if (found === undefined) return undefined;
  const top = realPath(root);
  return top !== undefined && found.startsWith(top.endsWith(sep) ? top : top + sep) ? found : undefined;
}

function realPath(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** `path` with the names below `root` spelled as the directories have them. */
function findAnyCase(root: string, path: string): string | undefined {
  if (!path.startsWith(root + sep)) return undefined;
  const parent = dirname(path);
  const directory = parent === root ? root : (realPath(parent) ?? findAnyCase(root, parent));
  if (directory === undefined) return undefined;
  const wanted = basename(path).toLowerCase();
  try {
    const name = readdirSync(directory).find((entry) => entry.toLowerCase() === wanted);
    return name === undefined ? undefined : join(directory, name);
  } catch {
    return undefined;
  }
}

function readFile(path: string, closed: ClosedFiles): Uint8Array | string {
  if (closed.holds(path)) return CLOSED.message;
  let fd: number | undefined;
  try {
    // Non-blocking, so that a pipe in a script's place cannot hold the process up.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (!stats.isFile()) return "Is not a file";
    if (stats.size > MAX_BYTES) return `larger than ${MAX_BYTES} bytes`;
    return readFileSync(fd);
  } catch (error) {
    return failureOf(error).message;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
