/** One line of the service's log, as text or JSON, without anything that writes it. */
import { decodeText } from "./bytes.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";

/** Values of a log line; byte strings are made readable, undefined and "" are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** The line without its end. */
export function jsonLine(level: string, event: string, fields: LogFields): string {
  const line: Record<string, unknown> = { time: new Date().toISOString(), level, event };
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "")
      line[key] = typeof value === "string" ? decodeText(value) : value;
  }
  return JSON.stringify(line);
}

/** The line without its end. */
export function textLine(level: string, event: string, fields: LogFields): string {
  let line = `${new Date().toISOString()} ${level} ${event}`;
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "") line += ` ${key}=${quoted(value)}`;
  }
  return line;
}

function quoted(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  const text = decodeText(value);
  return /^[\w.:@/+<>-]+$/.test(text) ? text : JSON.stringify(text);
}
