/**
 * One message's queue file, read and never written: envelope, recipients with
 * their state, times, attributes, and the header block. The body is not read.
 *
 * Follows Postfix's rules (qmgr_message.c): what it would call corrupt is an
 * error here, naming file and byte. A file may be changed while it is read;
 * Postfix then changes single bytes in place (a recipient becomes done), so
 * each read is some true state. Everything is a byte string.
 */
import { closeSync, fstatSync, openSync, type Stats } from "node:fs";
import { basename } from "node:path";
import { Envelope, type Letter, type QueueRecipient } from "./envelope.ts";
import { RECORD, RecordReader } from "./record.ts";

export { QueueFileError } from "./record.ts";

/** What the directory entry says; no read of the file is needed for it. Times in milliseconds since 1970. */
export interface QueueEntry {
  readonly id: string;
  readonly inode: number;
  readonly fileSize: number;
  /** In deferred the time of the next try, else of arrival or of the last move. */
  readonly mtimeMs: number;
  /** Forced to expire (`postsuper -e`): bounced the next time that Postfix takes it up. */
  readonly expire: boolean;
  /** Released by hand: dead destinations and defer_transports do not stop its next try. */
  readonly unthrottle: boolean;
}

export interface QueueFile extends QueueEntry {
  /** "" for the null sender. */
  readonly sender: string;
  readonly recipients: readonly QueueRecipient[];
  /** Seconds since 1970, and microseconds within. */
  readonly arrivalTime: number;
  readonly arrivalMicroseconds: number;
  /** Seconds since 1970: of the first submission, earlier than arrival for mail that was requeued. */
  readonly createTime: number;
  /** Bytes of the message, as in Postfix's log (size=). */
  readonly size: number;
  /** When Postfix sends the next delay warning, seconds since 1970; 0 none, -1 it has been sent. */
  readonly warnTime: number;
  /** content_filter as "transport:nexthop"; "" without. */
  readonly filter: string;
  /** The one address that gets the message instead of all recipients; "" without. */
  readonly redirect: string;
  /** VERP delimiters; "" without. */
  readonly verp: string;
  /** ENVID and RET of the DSN extension; "" and 0 without. RET: 1 full, 2 headers. */
  readonly envelopeId: string;
  readonly dsnReturn: number;
  /** Full name of a local submitter. */
  readonly fullName: string;
  /** All named attributes of the message: client_address, sasl_username, log_helo_name, ... */
  readonly attributes: Readonly<Record<string, string>>;
  /** The header fields as they lie in the queue, folds kept, lines ended by "\n" but for the last. */
  readonly header: string;
  /** False when the header is longer than the limit and `header` is its beginning. */
  readonly headerComplete: boolean;
  /** File offset where the body's records begin. */
  readonly bodyOffset: number;
}

export interface ReadOptions {
  /** Longest header block kept; default 256 kB. */
  readonly maxHeaderBytes?: number;
}

/** "gone": no such file (any more). "unfinished": Postfix is still writing it. */
export type ReadResult = QueueFile | "gone" | "unfinished";

const MODE_COMPLETE = 0o700;
const MODE_EXPIRE = 0o010;
const MODE_UNTHROTTLE = 0o040;
const MAX_HEADER_BYTES = 256 * 1024;

const reader = new RecordReader();

/**
 * Reads the queue file at `path`; its name is the queue ID.
 *
 * @throws QueueFileError when it is corrupt; a system error when it cannot be read
 */
export function readQueueFile(path: string, options: ReadOptions = {}): ReadResult {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "gone";
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!isComplete(stat)) return "unfinished";
    reader.open(fd, path, stat.size);
    return parse(entryOf(basename(path), stat), options.maxHeaderBytes ?? MAX_HEADER_BYTES);
  } finally {
    closeSync(fd);
  }
}

/** Mode 0600 is a file still being written. */
export function isComplete(stat: Stats): boolean {
  return stat.isFile() && (stat.mode & MODE_COMPLETE) === MODE_COMPLETE;
}

export function entryOf(id: string, stat: Stats): QueueEntry {
  return {
    id,
    inode: stat.ino,
    fileSize: stat.size,
    mtimeMs: stat.mtimeMs,
    expire: (stat.mode & MODE_EXPIRE) !== 0,
    unthrottle: (stat.mode & MODE_UNTHROTTLE) !== 0,
  };
}

interface Header {
  readonly text: string;
  readonly complete: boolean;
  readonly bodyOffset: number;
}

function parse(entry: QueueEntry, maxHeaderBytes: number): QueueFile {
  const envelope = new Envelope();
  readEnvelope(envelope, RECORD.content);
  const [dataSize = 0, dataOffset = 0, , , contentLength = 0] = envelope.sizes ?? [];
  if (dataSize <= 0 || dataOffset <= 0) throw reader.error("content begins without a size record before it");
  if (dataOffset !== reader.nextOffset) {
    throw reader.error(`content begins at byte ${reader.nextOffset}, the size record says ${dataOffset}`);
  }
  const header = readHeader(maxHeaderBytes);
  if (header.bodyOffset !== 0) {
    reader.seek(dataOffset + dataSize);
    reader.next();
    if (letterOf() !== RECORD.extracted) throw reader.error(`${shown()} where the content should end`);
  }
  readEnvelope(envelope, RECORD.end);
  const { arrival, sender, recipients, warnTime, filter, redirect, verp } = envelope;
  if (arrival === undefined || arrival[0] === 0) throw reader.error("there is no arrival time");
  if (sender === undefined) throw reader.error("there is no sender");
  return {
    ...entry,
    sender,
    recipients,
    arrivalTime: arrival[0],
    arrivalMicroseconds: arrival[1],
    createTime: envelope.createTime || arrival[0],
    size: contentLength || dataSize,
    warnTime: warnTime ?? 0,
    filter,
    redirect,
    verp,
    envelopeId: envelope.envelopeId,
    dsnReturn: envelope.dsnReturn,
    fullName: envelope.fullName,
    attributes: envelope.attributes,
    header: header.text,
    headerComplete: header.complete,
    bodyOffset: header.bodyOffset || reader.nextOffset,
  };
}

function readEnvelope(envelope: Envelope, last: Letter): void {
  for (;;) {
    reader.next();
    const letter = letterOf();
    if (letter === last) return;
    if (!envelope.take(letter, reader)) throw reader.error(`${shown()} in the envelope`);
  }
}

const NAME_START = /^[!-9;-~]+[ \t]*:/;
const LINE = RECORD.line.charCodeAt(0);
const LINE_PART = RECORD.filterOrLinePart.charCodeAt(0);

/** Up to the first line that belongs to no field. bodyOffset is 0 when the content ended before it. */
function readHeader(maxBytes: number): Header {
  let text = "";
  let lineGoesOn = false;
  let complete = true;
  for (;;) {
    reader.next();
    const { type } = reader;
    if (letterOf() === RECORD.extracted) return { text, complete, bodyOffset: 0 };
    if (type !== LINE && type !== LINE_PART) throw reader.error(`${shown()} in the content`);
    if (!lineGoesOn) {
      const first = reader.firstByte;
      const fold = (first === 0x20 || first === 0x09) && text !== "";
      if (!fold && !NAME_START.test(reader.text)) return { text, complete, bodyOffset: reader.offset };
      if (text !== "" && complete) text += "\n";
    }
    if (complete && text.length + reader.length > maxBytes) complete = false;
    if (complete) text += reader.text;
    // What is left of an endless header is passed over unread.
    else return { text, complete, bodyOffset: reader.offset };
    lineGoesOn = type === LINE_PART;
  }
}

function letterOf(): Letter {
  return String.fromCharCode(reader.type) as Letter;
}

function shown(): string {
  const { type } = reader;
  return `a record of type ${type > 0x20 && type < 0x7f ? `"${String.fromCharCode(type)}"` : type}`;
}
