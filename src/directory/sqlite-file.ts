/**
 * The SQLite file's rights. It holds password hashes: the owner writes it, one
 * group may read it, nobody else.
 *
 * A command that root runs works on the file as the user who owns it, or owns
 * its directory: nothing of root's is left behind that the service could not
 * write, and a user who can write there cannot lead root to another file.
 */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { StoreUnavailable } from "./store.ts";

const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;
/** As chown(2) has it: this one is not to change. */
const KEPT = 0xffff_ffff;

interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** Runs what is synchronous as somebody. */
export type RunAs = <T>(work: () => T) => T;

/**
 * Makes the file, empty, and its directory where they are missing.
 * @returns how to work on it
 * @throws StoreUnavailable in words for the admin
 */
export function prepareFile(path: string, group: string | undefined): { as: RunAs; made: boolean } {
  const gid = group === undefined ? undefined : groupId(group);
  const directory = dirname(path);
  try {
    makeDirectory(directory);
  } catch (error) {
    throw new StoreUnavailable(`the directory ${directory} cannot be made (${codeOf(error)})`);
  }
  const there = lstatOf(path);
  if (there?.isFile() === false) throw new StoreUnavailable(`${path} is no ordinary file`);
  const directoryOwner = statSync(directory);
  if (there?.uid === 0 && directoryOwner.uid !== 0) {
    throw new StoreUnavailable(
      `${path} belongs to root, and its directory does not; give it to the directory's owner: ` +
        `chown --reference=${directory} ${path}`,
    );
  }
  const as = runAs(ownerOf(there ?? directoryOwner));
  if (there !== undefined) return { as, made: false };
  let fd: number;
  try {
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    fd = as(() => openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE));
  } catch (error) {
    // Another process was quicker.
    if (codeOf(error) === "EEXIST") return { as, made: false };
    throw new StoreUnavailable(`${path} cannot be made (${codeOf(error)})`);
  }
  try {
    if (gid !== undefined) fchownSync(fd, KEPT, gid);
    fchmodSync(fd, FILE_MODE);
  } catch (error) {
    throw new StoreUnavailable(
      `${path} cannot be given to the group ${group} (${codeOf(error)}); ` +
        "let root do that, or put the service's user into the group",
    );
  } finally {
    closeSync(fd);
  }
  return { as, made: true };
}

/** Not by mkdir's own recursion, which never ends where a directory cannot have any in it, such as /proc. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  try {
    mkdirSync(path, { mode: DIRECTORY_MODE });
  } catch (error) {
    // Another process may be starting, too.
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

function lstatOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw new StoreUnavailable(`${path} cannot be looked at (${codeOf(error)})`);
  }
}

/** Undefined when we are that user already, or may be nobody else. */
function ownerOf({ uid, gid }: Stats): Identity | undefined {
  return process.geteuid?.() === 0 && uid !== 0 ? { uid, gid } : undefined;
}

function runAs(owner: Identity | undefined): RunAs {
  if (owner === undefined) return (work) => work();
  return (work) => {
    const groups = process.getgroups?.() ?? [];
    const group = process.getegid?.() ?? 0;
    process.setgroups?.([owner.gid]);
    process.setegid?.(owner.gid);
    process.seteuid?.(owner.uid);
    try {
      return work();
    } finally {
      process.seteuid?.(0);
      process.setegid?.(group);
      process.setgroups?.(groups);
    }
  };
}

function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  try {
    const [, , gid] = execFileSync("getent", ["group", group], { encoding: "utf8" }).split(":");
    return Number(gid);
  } catch {
    throw new StoreUnavailable(`store.group: there is no group ${JSON.stringify(group)}`);
  }
}

export function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code ?? (error as Error).message);
}
