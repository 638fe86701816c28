/**
 * Writes files below one directory and nowhere else, whatever the name says
 * (VPOP3.SaveAttachment).
 *
 * Every directory on the way is opened without following links and the next
 * one looked up inside it (by /proc/self/fd, which is openat(2) for Node), so
 * nobody can swap one for a link in between. The bytes go to a temporary file
 * in the same directory that gets its name when complete: readers never see a
 * part of a file, and an existing one is replaced only when that is allowed.
 * Fails with SaveError; needs /proc.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises";
import { decodeText } from "../bytes.ts";
import type { ClosedFiles } from "../config/closed-files.ts";
import { type Attachment, decode } from "./attachment.ts";
import type { MessageStore } from "./store.ts";

export type SaveErrorCode = "name" | "outside" | "link" | "missing" | "exists" | "io";

export class SaveError extends Error {
  override name = "SaveError";
  readonly code: SaveErrorCode;

  constructor(code: SaveErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface SaveTarget {
  /** Absolute path. The directory exists; links on the way to it are the admin's business and are followed. */
  readonly directory: string;
  readonly overwrite: boolean;
  /** Files that are neither made nor replaced. */
  readonly closed?: ClosedFiles;
}

/** Saves an attachment decoded. Resolves to what went wrong in words, "" when it is saved. */
export async function saveAttachment(
  target: SaveTarget,
  filename: string,
  store: MessageStore,
  attachment: Attachment,
): Promise<string> {
  try {
    await saveFile(target, filename, decode(store, attachment));
    return "";
  } catch (error) {
    if (error instanceof SaveError) return error.message;
    throw error;
  }
}

/**
 * Writes `pieces` to `filename`, a byte string: relative to the directory, or
 * absolute inside it; "/" and "\" both separate. Directories are not made.
 * @throws SaveError
 */
export async function saveFile(
  target: SaveTarget,
  filename: string,
  pieces: Iterable<Uint8Array>,
): Promise<void> {
  const shown = `"${decodeText(filename)}"`;
  const names = componentsBelow(target.directory, filename, shown);
  const last = names.pop();
  if (last === undefined) throw new SaveError("name", `${shown} names no file`);
  let directory: FileHandle | undefined;
  try {
    directory = await openDirectory(target.directory, names, shown);
    if (target.closed?.holdsEntry(inside(directory, last)) === true) {
      throw new SaveError("outside", `${shown} is no file for scripts`);
    }
    await writeInto(directory, last, pieces, target.overwrite, shown);
  } catch (error) {
    if (error instanceof SaveError) throw error;
    throw new SaveError("io", `${shown} cannot be written: ${(error as Error).message}`, { cause: error });
  } finally {
    await directory?.close();
  }
}

/** The names from `directory` down to the file, as bytes. */
function componentsBelow(directory: string, filename: string, shown: string): Buffer[] {
  if (filename.includes("\0")) throw new SaveError("name", "a file name holds NUL");
  let path = filename.replaceAll("\\", "/");
  if (/^[a-z]:/i.test(path))
    throw new SaveError("outside", `${shown} has a drive letter; files are saved below ${directory}`);
  if (path.startsWith("/")) {
    const base = `${Buffer.from(directory).toString("latin1").replace(/\/+$/, "")}/`;
    if (!path.startsWith(base)) throw new SaveError("outside", `${shown} is outside ${directory}`);
    path = path.slice(base.length);
  }
  if (path.endsWith("/")) throw new SaveError("name", `${shown} names no file`);
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  if (names.includes("..")) throw new SaveError("outside", `${shown} leads out of ${directory}`);
  return names.map((name) => Buffer.from(name, "latin1"));
}

/** Opens the directory that `names` lead to, no link followed below `base`. */
async function openDirectory(base: string, names: readonly Buffer[], shown: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY;
  let current = await open(base, flags);
  for (const name of names) {
    try {
      const next = await open(inside(current, name), flags | constants.O_NOFOLLOW);
      await current.close();
      current = next;
    } catch (error) {
      await current.close();
      const code = (error as NodeJS.ErrnoException).code;
      const what = `"${name.toString()}" in ${shown}`;
      if (code === "ENOENT") throw new SaveError("missing", `there is no directory ${what}`);
      // With O_DIRECTORY a link is ENOTDIR to Linux.
      if (code === "ELOOP" || code === "ENOTDIR")
        throw new SaveError("link", `${what} is no directory, or a link`);
      throw error;
    }
  }
  return current;
}

async function writeInto(
  directory: FileHandle,
  name: Buffer,
  pieces: Iterable<Uint8Array>,
  overwrite: boolean,
  shown: string,
): Promise<void> {
  const temporary = inside(directory, Buffer.from(`.postlua-${randomBytes(8).toString("hex")}`));
  const file = await open(temporary, "wx", 0o640);
  try {
    try {
      await file.writeFile(pieces);
    } finally {
      await file.close();
    }
    const path = inside(directory, name);
    if (overwrite) await rename(temporary, path);
    else await link(temporary, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") throw new SaveError("exists", `${shown} exists already`);
    if (code === "EISDIR") throw new SaveError("exists", `${shown} is a directory`);
    throw error;
  } finally {
    // After a rename it is gone.
    await unlink(temporary).catch(() => undefined);
  }
}

function inside(directory: FileHandle, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name]);
}
