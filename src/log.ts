/**
 * The service's log: one line an event, `key=value` on a terminal, JSON
 * otherwise. Never a message body, never a password.
 *
 * LUA.OUT and LUAERRORS.LOG are not here; they belong to the scripts
 * (scripts/output.ts).
 */
import { Writable } from "node:stream";
import winston from "winston";
import { jsonLine, type LogFields, type LogLevel, textLine } from "./log-line.ts";

export interface Log {
  error(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
}

export interface AdjustableLog extends Log {
  setLevel(level: LogLevel): void;
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
export function createLog(options: LogOptions): AdjustableLog {
  const text = options.text ?? options.stream.isTTY === true;
  const colour = options.stream.isTTY === true && process.env.NO_COLOR === undefined;
  const format = winston.format((info) => {
    info[MESSAGE] = text
      ? coloured(info, colour)
      : jsonLine(info.level, String(info.message), info.fields as LogFields);
    return info;
  })();
  const logger = winston.createLogger({
    level: options.level,
    format,
    transports: [new winston.transports.Stream({ stream: new Batch(options.stream) })],
  });
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}) => {
      logger.log({ level, message: event, fields });
    };
  const setLevel = (level: LogLevel) => {
    logger.level = level;
  };
  return { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug"), setLevel };
}

function coloured(info: winston.Logform.TransformableInfo, colour: boolean): string {
  const line = textLine(info.level, String(info.message), info.fields as LogFields);
  const start = COLOURS[info.level] ?? "";
  return colour && start !== "" ? `${start}${line}\x1b[0m` : line;
}

type Done = (error: Error | null | undefined) => void;

/** Lines of one turn of the event loop become one write: a session logs a dozen of them, and each write is a system call. */
class Batch extends Writable {
  readonly #target: Writable;
  readonly #flush = (): void => {
    this.uncork();
  };

  constructor(target: Writable) {
    super({ decodeStrings: false, highWaterMark: 1 << 20 });
    this.#target = target;
    // Who read the log is gone: lines are lost, and mail goes on. Unheard, the error would end the process.
    if (target.listenerCount("error") === 0) target.on("error", () => {});
    process.once("exit", this.#flush);
  }

  override write(chunk: string, encoding?: BufferEncoding | Done, done?: Done): boolean {
    if (this.writableCorked === 0) {
      this.cork();
      setImmediate(this.#flush);
    }
    return typeof encoding === "string" ? super.write(chunk, encoding, done) : super.write(chunk, encoding);
  }

  override _writev(chunks: { chunk: string }[], done: () => void): void {
    this.#target.write(chunks.map(({ chunk }) => chunk).join(""));
    done();
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.#target.write(chunk);
    done();
  }
}
