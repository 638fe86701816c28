/**
 * The envelope of a queue file, gathered record by record as the queue
 * manager does it: of some records the first counts, of others the last.
 */
import { RECORD, type RecordReader } from "./record.ts";

export type RecipientState = "todo" | "done" | "cancelled";

/** DSN NOTIFY bits of a recipient (RFC 3461); 0 when the client asked for nothing. */
export const NOTIFY = { never: 1, success: 2, failure: 4, delay: 8 } as const;

export interface QueueRecipient {
  readonly address: string;
  readonly state: RecipientState;
  /** As given in RCPT TO, before rewriting and aliases; "" when Postfix kept none. */
  readonly original: string;
  /** ORCPT parameter, such as "rfc822;user@example.com"; "" without one. */
  readonly dsnOriginal: string;
  readonly notify: number;
  /** Of its record in the file; defer logs name recipients by it. */
  readonly offset: number;
}

export type Letter = (typeof RECORD)[keyof typeof RECORD];

/** Envelope fields while they are gathered. */
export class Envelope {
  sender: string | undefined;
  recipients: QueueRecipient[] = [];
  arrival: readonly [number, number] | undefined;
  createTime = 0;
  sizes: readonly number[] | undefined;
  warnTime: number | undefined;
  filter = "";
  redirect = "";
  verp = "";
  envelopeId = "";
  dsnReturn = 0;
  fullName = "";
  attributes: Record<string, string> = Object.create(null);
  original = "";
  dsnOriginal = "";
  notify = 0;

  /** Takes the reader's record; false for a type that has no place in an envelope. */
  take(letter: Letter, reader: RecordReader): boolean {
    switch (letter) {
      case RECORD.todo:
        this.#recipient("todo", reader);
        return true;
      case RECORD.done:
        this.#recipient("done", reader);
        return true;
      case RECORD.cancelled:
        this.#recipient("cancelled", reader);
        return true;
      case RECORD.attribute:
        this.#attribute(reader);
        return true;
      case RECORD.original:
        this.original = reader.text;
        return true;
      case RECORD.sender:
        this.sender ??= reader.text;
        return true;
      case RECORD.time:
        this.arrival ??= arrivalOf(reader);
        return true;
      case RECORD.size:
        this.sizes ??= sizesOf(reader);
        return true;
      case RECORD.warnTime:
        this.warnTime ??= wholeNumber(reader.text, reader);
        return true;
      case RECORD.filterOrLinePart:
        this.filter = reader.text;
        return true;
      case RECORD.redirect:
        this.redirect = reader.text;
        return true;
      case RECORD.verp:
        this.verp ||= reader.text;
        return true;
      case RECORD.fullName:
        this.fullName = reader.text;
        return true;
      case RECORD.dsnOriginal:
      case RECORD.dsnNotify:
      case RECORD.dsnEnvelopeId:
      case RECORD.dsnReturn:
      case RECORD.createTime:
        this.#named(letter, reader.text, reader);
        return true;
      case RECORD.inspect:
      case RECORD.killed:
      case RECORD.returnReceipt:
      case RECORD.errorsTo:
      case RECORD.priority:
        return true;
      default:
        return false;
    }
  }

  #recipient(state: RecipientState, reader: RecordReader): void {
    const { original, dsnOriginal, notify } = this;
    this.recipients.push({
      address: reader.text,
      state,
      original,
      dsnOriginal,
      notify,
      offset: reader.offset,
    });
    this.original = "";
    this.dsnOriginal = "";
    this.notify = 0;
  }

  #attribute(reader: RecordReader): void {
    const { text } = reader;
    const at = text.indexOf("=");
    if (at < 1) throw reader.error(`an attribute without a name: ${JSON.stringify(text.slice(0, 80))}`);
    const name = text.slice(0, at).trimEnd();
    const value = text.slice(at + 1).trimStart();
    const letter = NAMED[name];
    if (letter !== undefined) this.#named(letter, value, reader);
    else this.attributes[name] = value;
  }

  /** Records that newer Postfix writes as attributes. */
  #named(letter: Letter, value: string, reader: RecordReader): void {
    if (letter === RECORD.dsnOriginal) this.dsnOriginal = value;
    else if (letter === RECORD.dsnNotify) this.notify = wholeNumber(value, reader);
    else if (letter === RECORD.dsnEnvelopeId) this.envelopeId = value;
    else if (letter === RECORD.dsnReturn) this.dsnReturn = wholeNumber(value, reader);
    else this.createTime ||= wholeNumber(value, reader);
  }
}

const NAMED: Readonly<Record<string, Letter>> = {
  dsn_orig_rcpt: RECORD.dsnOriginal,
  notify_flags: RECORD.dsnNotify,
  envelope_id: RECORD.dsnEnvelopeId,
  ret_flags: RECORD.dsnReturn,
  create_time: RECORD.createTime,
};

function arrivalOf(reader: RecordReader): readonly [number, number] {
  const { text } = reader;
  const [, seconds = "", microseconds = "0"] = /^(\d+)(?: +(\d+))?$/.exec(text) ?? [];
  if (seconds === "") throw reader.error(`an arrival time ${JSON.stringify(text)}`);
  return [Number(seconds), Number(microseconds)];
}

function sizesOf(reader: RecordReader): readonly number[] {
  const { text } = reader;
  const numbers = text.trim().split(/ +/).map(Number);
  if (numbers.length < 3 || !numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) {
    throw reader.error(`a size record ${JSON.stringify(text)}`);
  }
  return numbers;
}

function wholeNumber(text: string, reader: RecordReader): number {
  const number = Number(text.trim());
  if (!Number.isSafeInteger(number)) throw reader.error(`${JSON.stringify(text)} instead of a number`);
  return number;
}
