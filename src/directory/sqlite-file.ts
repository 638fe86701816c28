/**
 * The rights of a SQLite store's files. The one of users holds password hashes:
 * the owner writes it, one group may read it, nobody else. That of settings is
 * its owner's alone.
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

const MAIN_MODE = 0o640;
const SETTINGS_MODE = 0o600;
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
  const there = ordinary(path);
  const directoryOwner = statSync(directory);
  if (there?.uid === 0 && directoryOwner.uid !== 0) throw belongsToRoot(path, directory);
  const as = runAs(ownerOf(there ?? directoryOwner));
  if (there !== undefined) return { as, made: false };
  const fd = make(path, MAIN_MODE, as);
  // Another process was quicker.
  if (fd === undefined) return { as, made: false };
  try {
    if (gid !== undefined) fchownSync(fd, KEPT, gid);
    fchmodSync(fd, MAIN_MODE);
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

/**
 * The same for the settings beside it. Only `mayMake` makes a missing file: else it was lost, with settings in it.
 * @param as how to work on the first
 */
export function prepareSettingsFile(path: string, main: string, mayMake: boolean, as: RunAs): void {
  const there = ordinary(path);
  const mainOwner = statSync(main);
  if (there?.uid === 0 && mainOwner.uid !== 0) throw belongsToRoot(path, main);
  if (there !== undefined) return;
  if (!mayMake) {
    throw new StoreUnavailable(
      `${path} is missing, and has the settings of the users in ${main}; put it back, ` +
        "or make an empty file there, with the same owner, to begin without settings",
    );
  }
  const fd = make(path, SETTINGS_MODE, as);
  if (fd !== undefined) closeSync(fd);
}

/** @returns undefined when it is there already */
function make(path: string, mode: number, as: RunAs): number | undefined {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    return as(() => openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  } catch (error) {
    if (codeOf(error) === "EEXIST") return undefined;
    throw new StoreUnavailable(`${path} cannot be made (${codeOf(error)})`);
  }
}

function ordinary(path: string): Stats | undefined {
  const there = lstatOf(path);
  if (there?.isFile() === false) throw new StoreUnavailable(`${path} is no ordinary file`);
  return there;
}

function belongsToRoot(path: string, model: string): StoreUnavailable {
  const [what, whose] = statSync(model).isDirectory()
    ? ["its directory", "the directory's owner"]
    : [model, "its owner"];
  return new StoreUnavailable(
    `${path} belongs to root, and ${what} does not; give it to ${whose}: chown --reference=${model} ${path}`,
  );
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
