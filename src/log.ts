/**
 * The service's log: one line an event, `key=value` on a terminal, JSON
 * otherwise. Never a message body, never a password.
 *
 * LUA.OUT and LUAERRORS.LOG are not here; they belong to the scripts
 * (scripts/output.ts).
 */
import type { Writable } from "node:stream";
import winston from "winston";
import { decodeText } from "./bytes.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";

/** Values of a log line; byte strings are made readable, undefined and "" are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  error(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly stream: Writable & { isTTY?: boolean };
  /** Text lines instead of JSON; default: when the stream is a terminal. */
  readonly text?: boolean;
}

const MESSAGE = Symbol.for("message");
const COLOURS: Record<string, string> = { error: "\x1b[31m", warn: "\x1b[33m", info: "", debug: "\x1b[2m" };

/** A log that writes to `options.stream` through winston. */
export function createLog(options: LogOptions): Log {
  const text = options.text ?? options.stream.isTTY === true;
  const colour = options.stream.isTTY === true && process.env.NO_COLOR === undefined;
  const format = winston.format((info) => {
    info[MESSAGE] = text ? textLine(info, colour) : jsonLine(info);
    return info;
  })();
  const logger = winston.createLogger({
    level: options.level,
    format,
    transports: [new winston.transports.Stream({ stream: options.stream })],
  });
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}) => {
      logger.log({ level, message: event, fields });
    };
  return { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug") };
}

function jsonLine(info: winston.Logform.TransformableInfo): string {
  const line: Record<string, unknown> = {
    time: new Date().toISOString(),
    level: info.level,
    event: info.message,
  };
  for (const [key, value] of Object.entries(info.fields as LogFields)) {
    if (value !== undefined && value !== "")
      line[key] = typeof value === "string" ? decodeText(value) : value;
  }
  return JSON.stringify(line);
}

function textLine(info: winston.Logform.TransformableInfo, colour: boolean): string {
  let line = `${new Date().toISOString()} ${info.level} ${String(info.message)}`;
  for (const [key, value] of Object.entries(info.fields as LogFields)) {
    if (value !== undefined && value !== "") line += ` ${key}=${quoted(value)}`;
  }
  const start = COLOURS[info.level] ?? "";
  return colour && start !== "" ? `${start}${line}\x1b[0m` : line;
}

function quoted(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  const text = decodeText(value);
  return /^[\w.:@/+<>-]+$/.test(text) ? text : JSON.stringify(text);
}
