/**
 * What an MTA reads: packets of a filter to tagged values. For those who play
 * the MTA (client.ts) and for tests, hence as strict as the strictest MTA.
 * Throws MilterProtocolError.
 */
import type { Packet } from "./decoder.ts";
import type { MilterEdit } from "./edit.ts";
import { MilterProtocolError, type ProtocolErrorCode } from "./errors.ts";
import {
  replyName,
  SMFIC_OPTNEG,
  SMFIR_ACCEPT,
  SMFIR_ADDHEADER,
  SMFIR_ADDRCPT,
  SMFIR_ADDRCPT_PAR,
  SMFIR_CHGFROM,
  SMFIR_CHGHEADER,
  SMFIR_CONN_FAIL,
  SMFIR_CONTINUE,
  SMFIR_DELRCPT,
  SMFIR_DISCARD,
  SMFIR_INSHEADER,
  SMFIR_PROGRESS,
  SMFIR_QUARANTINE,
  SMFIR_REJECT,
  SMFIR_REPLBODY,
  SMFIR_REPLYCODE,
  SMFIR_SHUTDOWN,
  SMFIR_SKIP,
  SMFIR_TEMPFAIL,
} from "./protocol.ts";
import { type MilterReply, parseReplyText, type SimpleKind } from "./reply.ts";

export type MilterResponse =
  | {
      readonly kind: "optneg";
      readonly version: number;
      readonly actions: number;
      readonly steps: number;
      readonly macros: readonly { readonly stage: number; readonly names: string }[];
    }
  | { readonly kind: "progress" }
  | { readonly kind: "edit"; readonly edit: MilterEdit }
  | { readonly kind: "reply"; readonly reply: MilterReply };

const SIMPLE: ReadonlyMap<number, SimpleKind> = new Map([
  [SMFIR_CONTINUE, "continue"],
  [SMFIR_ACCEPT, "accept"],
  [SMFIR_REJECT, "reject"],
  [SMFIR_TEMPFAIL, "tempfail"],
  [SMFIR_DISCARD, "discard"],
  [SMFIR_SKIP, "skip"],
  [SMFIR_CONN_FAIL, "connfail"],
  [SMFIR_SHUTDOWN, "shutdown"],
]);

/** A body comes as one replaceBody edit a packet; addresses come as they were sent, with their <>. */
export function decodeResponse(from: Packet): MilterResponse {
  const fields = new Fields(from);
  const response = decode(from.code, fields);
  fields.end();
  return response;
}

function decode(code: number, fields: Fields): MilterResponse {
  const simple = SIMPLE.get(code);
  if (simple !== undefined) return { kind: "reply", reply: { kind: simple } };
  if (code === SMFIR_PROGRESS) return { kind: "progress" };
  if (code === SMFIC_OPTNEG) return optneg(fields);
  if (code !== SMFIR_REPLYCODE) return { kind: "edit", edit: decodeEdit(code, fields) };
  const start = fields.offset;
  return { kind: "reply", reply: parseReplyText(fields.string("text"), start) };
}

function optneg(fields: Fields): MilterResponse {
  const version = fields.number("version");
  const actions = fields.number("actions");
  const steps = fields.number("steps");
  const macros: { stage: number; names: string }[] = [];
  while (fields.left > 0) macros.push({ stage: fields.number("stage"), names: fields.string("macros") });
  return { kind: "optneg", version, actions, steps, macros };
}

function decodeEdit(code: number, fields: Fields): MilterEdit {
  switch (code) {
    case SMFIR_ADDHEADER:
      return { kind: "addHeader", name: fields.string("name"), value: fields.string("value") };
    case SMFIR_INSHEADER: {
      const index = fields.number("index");
      return { kind: "insertHeader", index, name: fields.string("name"), value: fields.string("value") };
    }
    case SMFIR_CHGHEADER: {
      const index = fields.number("index");
      return { kind: "changeHeader", name: fields.string("name"), index, value: fields.string("value") };
    }
    case SMFIR_ADDRCPT:
      return { kind: "addRecipient", address: fields.string("address"), parameters: "" };
    case SMFIR_ADDRCPT_PAR:
      return { kind: "addRecipient", address: fields.string("address"), parameters: fields.optionalString() };
    case SMFIR_DELRCPT:
      return { kind: "deleteRecipient", address: fields.string("address") };
    case SMFIR_CHGFROM:
      return { kind: "changeSender", address: fields.string("address"), parameters: fields.optionalString() };
    case SMFIR_REPLBODY:
      return { kind: "replaceBody", body: fields.rest() };
    case SMFIR_QUARANTINE:
      return { kind: "quarantine", reason: fields.string("reason") };
    default:
      return fields.fail("ERR_MILTER_CODE", "code", "no such reply");
  }
}

/** Reads the fields of one packet in turn. */
class Fields {
  readonly #packet: Packet;
  #at = 0;

  constructor(packet: Packet) {
    this.#packet = packet;
  }

  get left(): number {
    return this.#packet.data.length - this.#at;
  }

  /** In the stream, of the next field. */
  get offset(): number {
    return this.#packet.offset + 5 + this.#at;
  }

  number(field: string): number {
    if (this.left < 4) this.fail("ERR_MILTER_FIELD_SHORT", field, `4 bytes expected, ${this.left} found`);
    this.#at += 4;
    return this.#packet.data.readUInt32BE(this.#at - 4);
  }

  string(field: string): string {
    const end = this.#packet.data.indexOf(0, this.#at);
    if (this.left === 0) this.fail("ERR_MILTER_FIELD_SHORT", field, "missing");
    if (end < 0) this.fail("ERR_MILTER_FIELD_NUL", field, "a string without its NUL");
    const text = this.#packet.data.toString("latin1", this.#at, end);
    this.#at = end + 1;
    return text;
  }

  optionalString(): string {
    return this.left === 0 ? "" : this.string("parameters");
  }

  rest(): Buffer {
    const bytes = this.#packet.data.subarray(this.#at);
    this.#at = this.#packet.data.length;
    return bytes;
  }

  end(): void {
    if (this.left > 0) this.fail("ERR_MILTER_FIELD_EXTRA", "end", `${this.left} bytes left over`);
  }

  fail(code: ProtocolErrorCode, field: string, text: string): never {
    throw new MilterProtocolError(code, this.offset, `${replyName(this.#packet.code)} ${field}`, text);
  }
}
