/** Queue files made by hand, as cleanup(8) writes them: for what no Postfix would write, and for very many. */
import { chmodSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toBytes } from "../../src/bytes.ts";

/** One record; data is a byte string. */
export function record(type: string, data = ""): Buffer {
  const length: number[] = [];
  let rest = data.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([toBytes(type), Buffer.from(length), toBytes(data)]);
}

export interface BuiltMail {
  readonly sender?: string;
  readonly recipients?: readonly string[];
  /** Physical lines, without line ends. */
  readonly header?: readonly string[];
  readonly body?: readonly string[];
  /** Seconds since 1970. */
  readonly arrival?: number;
}

const number = (value: number) => String(value).padStart(15);

/** A whole queue file. */
export function buildQueueFile(mail: BuiltMail = {}): Buffer {
  const { sender = "from@example.test", recipients = ["to@remote.test"], arrival = 1_700_000_000 } = mail;
  const { header = ["Subject: built"], body = ["body"] } = mail;
  const sizes = (values: readonly number[]) => record("C", values.map(number).join(" "));
  const envelope = Buffer.concat([
    record("T", `${arrival} 123456`),
    record("A", `create_time=${arrival}`),
    record("A", "rewrite_context=remote"),
    record("S", sender),
    record("A", "log_client_name=client.test"),
    record("A", "log_client_address=192.0.2.1"),
    ...recipients.flatMap((address) => [
      record("A", `dsn_orig_rcpt=rfc822;${address}`),
      record("O", address),
      record("R", address),
    ]),
    record("p", number(0)),
    record("M"),
  ]);
  const lines = [...header, "", ...body];
  const content = Buffer.concat([...lines.map((line) => record("N", line)), record("p", number(0))]);
  const dataOffset = sizes([0, 0, 0, 0, 0, 0]).length + envelope.length;
  const size = lines.reduce((sum, line) => sum + line.length + 1, 0);
  return Buffer.concat([
    sizes([content.length, dataOffset, recipients.length, 0, size, 0]),
    envelope,
    content,
    record("X"),
    record("p", number(0)),
    record("E"),
  ]);
}

export interface Placed {
  /** Below the queue directory, such as "deferred/8/8ABCDEF01". */
  readonly path: string;
  readonly mode?: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
}

/** Puts a file where Postfix would. */
export function place(
  directory: string,
  { path, mode = 0o700, mtime = 1_700_000_300 }: Placed,
  bytes: Uint8Array,
): string {
  const file = join(directory, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  chmodSync(file, mode);
  utimesSync(file, mtime, mtime);
  return file;
}
