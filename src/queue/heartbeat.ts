/** The worker's signs of life, read from its journal by another process, without the rest of it. */
import { DatabaseSync } from "node:sqlite";
import type { Heartbeat } from "./journal.ts";

/** @throws Error from SQLite when there is no such journal, or it cannot be read */
export function readHeartbeat(path: string): Heartbeat {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 2_000 });
  try {
    const facts = database.prepare("SELECT name, value FROM fact").all();
    const of = (wanted: string) => Number(facts.find(({ name }) => name === wanted)?.value ?? 0);
    return { aliveMs: of("alive"), plannedMs: of("planned") };
  } finally {
    database.close();
  }
}
