/**
 * Commands, MTA to filter: packets to tagged values and back.
 *
 * Every string must end in its NUL and every packet where its fields end;
 * otherwise MilterProtocolError names the field and the byte. Nothing here
 * knows which command may follow which (session.ts does).
 */
import { isIPv4, isIPv6 } from "node:net";
import type { Packet } from "./decoder.ts";
import { MilterProtocolError, type ProtocolErrorCode } from "./errors.ts";
import type { ConnectEvent } from "./filter.ts";
import {
  commandName,
  SMFIA_INET,
  SMFIA_INET6,
  SMFIA_UNIX,
  SMFIA_UNKNOWN,
  SMFIC_ABORT,
  SMFIC_BODY,
  SMFIC_BODYEOB,
  SMFIC_CONNECT,
  SMFIC_DATA,
  SMFIC_EOH,
  SMFIC_HEADER,
  SMFIC_HELO,
  SMFIC_MACRO,
  SMFIC_MAIL,
  SMFIC_OPTNEG,
  SMFIC_QUIT,
  SMFIC_QUIT_NC,
  SMFIC_RCPT,
  SMFIC_UNKNOWN,
} from "./protocol.ts";
import { packet } from "./writer.ts";

export type MilterCommand =
  | { readonly kind: "optneg"; readonly version: number; readonly actions: number; readonly steps: number }
  /** `stage` is the code of the command the macros belong to; `values` alternates names and values. */
  | { readonly kind: "macro"; readonly stage: number; readonly values: readonly string[] }
  | { readonly kind: "connect"; readonly event: ConnectEvent }
  | { readonly kind: "helo"; readonly name: string }
  | { readonly kind: "mail"; readonly args: readonly string[] }
  | { readonly kind: "rcpt"; readonly args: readonly string[] }
  | { readonly kind: "data" }
  | { readonly kind: "header"; readonly name: Buffer; readonly value: Buffer }
  | { readonly kind: "eoh" }
  | { readonly kind: "body"; readonly chunk: Buffer }
  /** `chunk` is a last piece of the body, usually empty. */
  | { readonly kind: "eom"; readonly chunk: Buffer }
  | { readonly kind: "unknown"; readonly line: string }
  | { readonly kind: "abort" }
  | { readonly kind: "quit" }
  | { readonly kind: "quitnc" };

export type CommandKind = MilterCommand["kind"];

const DATA: MilterCommand = { kind: "data" };
const EOH: MilterCommand = { kind: "eoh" };
const ABORT: MilterCommand = { kind: "abort" };
const QUIT: MilterCommand = { kind: "quit" };
const QUIT_NC: MilterCommand = { kind: "quitnc" };

/** @throws MilterProtocolError */
export function decodeCommand(from: Packet): MilterCommand {
  switch (from.code) {
    case SMFIC_MACRO:
      return decodeMacro(from);
    case SMFIC_HEADER:
      return decodeHeader(from);
    case SMFIC_BODY:
      return { kind: "body", chunk: from.data };
    case SMFIC_MAIL:
      return { kind: "mail", args: decodeArguments(from) };
    case SMFIC_RCPT:
      return { kind: "rcpt", args: decodeArguments(from) };
    case SMFIC_BODYEOB:
      return { kind: "eom", chunk: from.data };
    case SMFIC_CONNECT:
      return { kind: "connect", event: decodeConnect(from) };
    case SMFIC_HELO:
      return { kind: "helo", name: decodeOnlyString(from, "name") };
    case SMFIC_UNKNOWN:
      return { kind: "unknown", line: decodeOnlyString(from, "line") };
    case SMFIC_OPTNEG:
      return decodeOptneg(from);
    case SMFIC_DATA:
      return empty(from, DATA);
    case SMFIC_EOH:
      return empty(from, EOH);
    case SMFIC_ABORT:
      return empty(from, ABORT);
    case SMFIC_QUIT:
      return empty(from, QUIT);
    case SMFIC_QUIT_NC:
      return empty(from, QUIT_NC);
    default:
      throw new MilterProtocolError(
        "ERR_MILTER_CODE",
        from.offset + 4,
        "code",
        `no such command as ${commandName(from.code)}`,
      );
  }
}

/** Bytes of data after the three numbers are left alone, as libmilter does: room for what a later version adds. */
function decodeOptneg(from: Packet): MilterCommand {
  const { data } = from;
  if (data.length < 12) {
    fail(from, "ERR_MILTER_FIELD_SHORT", data.length, "options", `12 bytes expected, ${data.length} found`);
  }
  return {
    kind: "optneg",
    version: data.readUInt32BE(0),
    actions: data.readUInt32BE(4),
    steps: data.readUInt32BE(8),
  };
}

function decodeMacro(from: Packet): MilterCommand {
  const { data } = from;
  if (data.length === 0) fail(from, "ERR_MILTER_FIELD_SHORT", 0, "stage", "missing");
  const values = data.length === 1 ? [] : strings(from, 1, "macros");
  if (values.length % 2 !== 0) {
    const name = JSON.stringify(values.at(-1));
    fail(from, "ERR_MILTER_FIELD_SHORT", data.length, "macros", `the name ${name} has no value`);
  }
  return { kind: "macro", stage: data[0]!, values };
}

function decodeConnect(from: Packet): ConnectEvent {
  const { data } = from;
  const familyAt = stringEnd(from, 0, "hostname") + 1;
  const hostname = data.toString("latin1", 0, familyAt - 1);
  const code = data[familyAt];
  if (code === undefined) fail(from, "ERR_MILTER_FIELD_SHORT", familyAt, "family", "missing");
  // What follows this family, if anything, means nothing: Postfix ends the packet here.
  if (code === SMFIA_UNKNOWN) return { hostname, family: "unknown", address: "", port: 0 };
  const family = familyOf(code);
  if (family === undefined) {
    fail(from, "ERR_MILTER_FIELD_VALUE", familyAt, "family", `no such family as 0x${code.toString(16)}`);
  }
  const addressAt = familyAt + 3;
  if (data.length < addressAt) fail(from, "ERR_MILTER_FIELD_SHORT", data.length, "port", "missing");
  const port = data.readUInt16BE(familyAt + 1);
  const end = stringEnd(from, addressAt, "address");
  expectEnd(from, end + 1, "address");
  let address = data.toString("latin1", addressAt, end);
  if (family === "inet6") address = address.replace(/^IPv6:/i, ""); // Sendmail writes the prefix
  const valid = family === "unix" || (family === "inet" ? isIPv4(address) : isIPv6(address));
  if (!valid) {
    const text = `not an ${family} address: ${JSON.stringify(address.slice(0, 80))}`;
    fail(from, "ERR_MILTER_FIELD_VALUE", addressAt, "address", text);
  }
  return { hostname, family, address, port };
}

function familyOf(code: number): ConnectEvent["family"] | undefined {
  if (code === SMFIA_INET) return "inet";
  if (code === SMFIA_INET6) return "inet6";
  return code === SMFIA_UNIX ? "unix" : undefined;
}

function decodeHeader(from: Packet): MilterCommand {
  const { data } = from;
  const nameEnd = stringEnd(from, 0, "name");
  const valueEnd = stringEnd(from, nameEnd + 1, "value");
  expectEnd(from, valueEnd + 1, "value");
  return { kind: "header", name: data.subarray(0, nameEnd), value: data.subarray(nameEnd + 1, valueEnd) };
}

function decodeArguments(from: Packet): string[] {
  if (from.data.length === 0) fail(from, "ERR_MILTER_FIELD_SHORT", 0, "address", "missing");
  return strings(from, 0, "arguments");
}

function decodeOnlyString(from: Packet, field: string): string {
  const end = stringEnd(from, 0, field);
  expectEnd(from, end + 1, field);
  return from.data.toString("latin1", 0, end);
}

function empty(from: Packet, command: MilterCommand): MilterCommand {
  expectEnd(from, 0, "end");
  return command;
}

/** All strings from `start` to the end of the packet. */
function strings(from: Packet, start: number, field: string): string[] {
  const { data } = from;
  if (data[data.length - 1] !== 0) {
    fail(from, "ERR_MILTER_FIELD_NUL", data.length, field, "a string without its NUL");
  }
  return data.toString("latin1", start, data.length - 1).split("\0");
}

/** Where the string that begins at `start` has its NUL. */
function stringEnd(from: Packet, start: number, field: string): number {
  if (start >= from.data.length) fail(from, "ERR_MILTER_FIELD_SHORT", from.data.length, field, "missing");
  const end = from.data.indexOf(0, start);
  if (end < 0) fail(from, "ERR_MILTER_FIELD_NUL", from.data.length, field, "a string without its NUL");
  return end;
}

function expectEnd(from: Packet, end: number, field: string): void {
  const extra = from.data.length - end;
  if (extra > 0) fail(from, "ERR_MILTER_FIELD_EXTRA", end, field, `${extra} bytes left over behind it`);
}

function fail(from: Packet, code: ProtocolErrorCode, at: number, field: string, text: string): never {
  throw new MilterProtocolError(code, from.offset + 5 + at, `${commandName(from.code)} ${field}`, text);
}

/** The other direction: what an MTA sends. Values are taken as they are, so that tests can send nonsense. */
export function encodeCommand(command: MilterCommand): Buffer {
  switch (command.kind) {
    case "optneg":
      return packet(SMFIC_OPTNEG, command.version, command.actions, command.steps);
    case "macro":
      return packet(SMFIC_MACRO, Uint8Array.of(command.stage), ...command.values);
    case "connect":
      return encodeConnect(command.event);
    case "helo":
      return packet(SMFIC_HELO, command.name);
    case "mail":
      return packet(SMFIC_MAIL, ...command.args);
    case "rcpt":
      return packet(SMFIC_RCPT, ...command.args);
    case "data":
      return packet(SMFIC_DATA);
    case "header":
      return packet(SMFIC_HEADER, command.name.toString("latin1"), command.value.toString("latin1"));
    case "eoh":
      return packet(SMFIC_EOH);
    case "body":
      return packet(SMFIC_BODY, command.chunk);
    case "eom":
      return packet(SMFIC_BODYEOB, command.chunk);
    case "unknown":
      return packet(SMFIC_UNKNOWN, command.line);
    case "abort":
      return packet(SMFIC_ABORT);
    case "quit":
      return packet(SMFIC_QUIT);
    case "quitnc":
      return packet(SMFIC_QUIT_NC);
  }
}

const FAMILY_CODES = { inet: SMFIA_INET, inet6: SMFIA_INET6, unix: SMFIA_UNIX, unknown: SMFIA_UNKNOWN };

function encodeConnect(event: ConnectEvent): Buffer {
  const code = FAMILY_CODES[event.family];
  if (event.family === "unknown") return packet(SMFIC_CONNECT, event.hostname, Uint8Array.of(code));
  const middle = Uint8Array.of(code, event.port >> 8, event.port & 0xff);
  return packet(SMFIC_CONNECT, event.hostname, middle, event.address);
}
