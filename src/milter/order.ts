/**
 * The order of commands, and where transactions end. No handlers, no replies.
 *
 * As strict as the protocol and as lenient as real MTAs need: HELO may be
 * repeated, MAIL may come without an ABORT before it, RCPT and DATA may follow
 * a DATA that was refused.
 *
 * Why a transaction ended is something the protocol only hints at: Postfix
 * sends ABORT for RSET, after each message, after a second HELO (once or
 * twice), for STARTTLS, and before QUIT; Sendmail sends none after a message.
 * So ABORT inside a transaction is decided when the next packet shows which of
 * them it was. Two cases look alike on the wire and are called "end" and
 * "reset": RSET followed by QUIT (against QUIT inside a transaction), and
 * STARTTLS inside a transaction (against RSET and STARTTLS). A MAIL that
 * another filter refused behind this one's back looks like RSET, too.
 */
import type { CommandKind, MilterCommand } from "./command.ts";
import { MilterProtocolError } from "./errors.ts";
import type { AbortCause } from "./filter.ts";
import { SMFIC_HELO, SMFIC_MAIL, SMFIP_NOCONNECT, SMFIP_NOMAIL } from "./protocol.ts";
import type { ReplyEvent, Verdict } from "./reply.ts";

// Where a session stands; bits, so that sets of phases are numbers.
const START = 1;
/** Negotiated, CONNECT is next. */
const READY = 2;
/** Outside any transaction. */
const IDLE = 4;
/** From MAIL on. */
const ENVELOPE = 8;
/** DATA was not refused. */
const DATA = 16;
const HEADERS = 32;
const BODY = 64;
/** The transaction takes no more events: end of message answered, or accepted, refused or discarded before. */
const DONE = 128;

const NEGOTIATED = READY | IDLE | ENVELOPE | DATA | HEADERS | BODY | DONE;
const CONNECTED = NEGOTIATED & ~READY;
const ENVELOPE_OPEN = ENVELOPE | DATA;
const HEADERS_OPEN = ENVELOPE_OPEN | HEADERS;

const ALLOWED: Readonly<Record<CommandKind, number>> = {
  optneg: START,
  macro: NEGOTIATED,
  connect: READY,
  helo: CONNECTED,
  mail: CONNECTED,
  rcpt: ENVELOPE_OPEN,
  data: ENVELOPE_OPEN,
  header: HEADERS_OPEN,
  eoh: HEADERS_OPEN,
  body: HEADERS_OPEN | BODY,
  eom: HEADERS_OPEN | BODY,
  unknown: NEGOTIATED,
  abort: NEGOTIATED,
  quit: START | NEGOTIATED,
  quitnc: NEGOTIATED,
};

const PHASE_NAMES: ReadonlyMap<number, string> = new Map([
  [START, "before the negotiation"],
  [READY, "before CONNECT"],
  [IDLE, "outside a transaction"],
  [ENVELOPE, "in the envelope"],
  [DATA, "after DATA"],
  [HEADERS, "in the headers"],
  [BODY, "in the body"],
  [DONE, "after the end of the message"],
]);

export class SessionOrder {
  #phase = START;
  #steps = 0;
  /** A transaction whose end the handler has not heard of. */
  #open = false;
  /** ABORT came inside the transaction; the next packet tells why. */
  #undecided = false;
  #dataSeen = false;
  /** Nothing but ABORT came since HELO. */
  #afterHelo = false;

  get open(): boolean {
    return this.#open;
  }

  /** No message would be cut off if the session ended now. */
  get betweenMessages(): boolean {
    return !this.#open || this.#undecided || this.#phase === DONE;
  }

  negotiated(steps: number): void {
    this.#steps = steps;
    this.nextConnection();
  }

  nextConnection(): void {
    this.#phase = (this.#steps & SMFIP_NOCONNECT) === 0 ? READY : IDLE;
  }

  /** @throws MilterProtocolError ERR_MILTER_ORDER; `offset` is where the packet began. */
  check(kind: CommandKind, offset: number): void {
    if ((ALLOWED[kind] & this.#phase) !== 0 || this.#beginsUnannounced(kind)) return;
    const text = `${kind} may not come ${PHASE_NAMES.get(this.#phase)}`;
    throw new MilterProtocolError("ERR_MILTER_ORDER", offset + 4, "code", text);
  }

  /** With MAIL negotiated away, any command of a transaction begins one. */
  #beginsUnannounced(kind: CommandKind): boolean {
    if ((this.#steps & SMFIP_NOMAIL) === 0 || (this.#phase & (IDLE | DONE)) === 0) return false;
    return (ALLOWED[kind] & (ENVELOPE | IDLE)) === ENVELOPE;
  }

  /** Why the transaction is over, when this command shows that it is. */
  endShownBy(command: MilterCommand): AbortCause | undefined {
    if (!this.#open) return undefined;
    const finished = this.#phase === DONE;
    const { kind } = command;
    if (kind === "abort") {
      if (this.#undecided) return undefined;
      if (this.#afterHelo) return "helo";
      return finished ? "message" : undefined;
    }
    if (kind === "quit" || kind === "quitnc") return this.lastCause();
    const next = kind === "mail" || (kind === "macro" && command.stage === SMFIC_MAIL);
    if (!this.#undecided && !next && !this.#beginsUnannounced(kind)) return undefined;
    return finished || this.#dataSeen ? "message" : "reset";
  }

  /** Why the open transaction is over when the session ends. */
  lastCause(): AbortCause {
    return this.#phase === DONE ? "message" : "end";
  }

  /** A command is about to be carried out. */
  enter(command: MilterCommand): void {
    const { kind } = command;
    if (kind === "abort") {
      this.#undecided = this.#open;
      return;
    }
    // Macros come even for events that were negotiated away, so they show HELO where the event does not.
    this.#afterHelo = kind === "helo" || (kind === "macro" && command.stage === SMFIC_HELO);
    switch (kind) {
      case "connect":
        this.#phase = IDLE;
        break;
      case "rcpt":
      case "data":
        this.#open = true;
        if (this.#phase === IDLE) this.#phase = ENVELOPE;
        break;
      case "header":
      case "eoh":
      case "body":
      case "eom":
        this.#open = true;
        this.#dataSeen = true;
        this.#phase = kind === "header" ? HEADERS : BODY;
        break;
    }
  }

  /** An event was answered; "go" also when it takes no answer. */
  answered(event: ReplyEvent, verdict: Verdict): void {
    switch (event) {
      case "connect":
      case "helo":
      case "unknown":
        return;
      case "mail":
        this.#open = verdict !== "refuse";
        this.#phase = verdict === "go" ? ENVELOPE : verdict === "done" ? DONE : IDLE;
        return;
      case "rcpt":
        if (verdict === "done") this.#phase = DONE;
        return;
      case "data":
        if (verdict === "done") this.#phase = DONE;
        if (verdict !== "go") return;
        this.#phase = DATA;
        this.#dataSeen = true;
        return;
      default:
        if (verdict !== "go" || event === "eom") this.#phase = DONE;
    }
  }

  endTransaction(): void {
    this.#open = false;
    this.#undecided = false;
    this.#dataSeen = false;
    this.#phase = IDLE;
  }
}
