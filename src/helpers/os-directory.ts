/**
 * os.getdirectory: what lies in a directory, with sizes and times.
 *
 * Attributes are the manual's letters as far as Unix has them, in alphabetical
 * order: D for a directory, H for a name that begins with a dot, R for a file
 * that nobody may write. Links are followed. Anything that cannot be listed,
 * missing or unreadable, is an empty table. os.getdirectory is not among the
 * functions that safety mode disables.
 */
import type { Stats } from "node:fs";
import { lstat, opendir, stat } from "node:fs/promises";
import { toBytes } from "../bytes.ts";
import { type HostModule, LuaRaise } from "../lua/host.ts";
import type { LuaInput } from "../lua/values.ts";

export interface DirectoryModuleOptions {
  /** Relative names start here. */
  readonly dataDir: string;
  readonly maxEntries?: number;
}

/** Charged for each entry: a stat and a table of five values. */
const STEPS_AN_ENTRY = 100;
/** Entries looked at together; the thread pool has four threads for all sessions. */
const BATCH = 16;

export function directoryModule(options: DirectoryModuleOptions): HostModule {
  const { dataDir, maxEntries = 100_000 } = options;
  return {
    table: "os",
    functions: {
      /** (directory) -> table of {Size, Attributes, Creation, LastAccess, LastWrite}, keyed by name. */
      async getdirectory(call) {
        const given = call.string(1);
        const entries = new Map<string, LuaInput>();
        if (given.includes("\0")) return [entries];
        const path = Buffer.concat([toBytes(given), Buffer.from("/")]);
        const directory = given.startsWith("/") ? path : Buffer.concat([Buffer.from(`${dataDir}/`), path]);
        for await (const names of listNames(directory)) {
          if (call.signal.aborted) break;
          call.charge(names.length * STEPS_AN_ENTRY);
          if (entries.size + names.length > maxEntries) {
            throw new LuaRaise(`directory has more than ${maxEntries} entries`);
          }
          const found = await Promise.all(names.map((name) => look(directory, name)));
          for (const [i, stats] of found.entries()) {
            if (stats) entries.set(names[i]!, describe(names[i]!, stats));
          }
        }
        return [entries];
      },
    },
  };
}

/** The names in a directory, byte strings, a batch at a time; none when it cannot be read. */
async function* listNames(path: Buffer): AsyncGenerator<string[]> {
  const directory = await opendir(path, { encoding: "latin1", bufferSize: BATCH }).catch(() => undefined);
  if (!directory) return;
  let batch: string[] = [];
  for await (const entry of directory) {
    batch.push(entry.name);
    if (batch.length === BATCH) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

/** undefined when the entry has gone meanwhile; a link that leads nowhere is described itself. */
async function look(directory: Buffer, name: string): Promise<Stats | undefined> {
  const path = Buffer.concat([directory, toBytes(name)]);
  return stat(path).catch(() => lstat(path).catch(() => undefined));
}

function describe(name: string, stats: Stats): LuaInput {
  const letters = [
    stats.isDirectory() && "D",
    name.startsWith(".") && "H",
    (stats.mode & 0o222) === 0 && "R",
  ];
  return {
    Size: stats.size,
    Attributes: letters.filter(Boolean).join(""),
    Creation: localStamp(stats.birthtime),
    LastAccess: localStamp(stats.atime),
    LastWrite: localStamp(stats.mtime),
  };
}

/** Local time as YYYYMMDDHHMMSS. */
export function localStamp(time: Date): string {
  const fields = [time.getMonth() + 1, time.getDate(), time.getHours(), time.getMinutes(), time.getSeconds()];
  return (
    String(time.getFullYear()).padStart(4, "0") +
    fields.map((field) => String(field).padStart(2, "0")).join("")
  );
}
