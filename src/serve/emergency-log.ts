/** A log line written at once, by a thread that has no time for streams: whole, synchronously, or not at all. */
import { writeSync } from "node:fs";
import { jsonLine, type LogFields, textLine } from "../log-line.ts";

const STDOUT = 1;
const TRIES = 100;

/** An error line on standard output, where the rest of the log goes. */
export function emergencyLine(text: boolean, event: string, fields: LogFields): void {
  const line = text ? textLine("error", event, fields) : jsonLine("error", event, fields);
  const bytes = Buffer.from(`${line}\n`);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let at = 0, tries = 0; at < bytes.length && tries < TRIES; ) {
    try {
      at += writeSync(STDOUT, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      tries++;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}
