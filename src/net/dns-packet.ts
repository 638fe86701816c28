/**
 * DNS messages: our queries written by dns2, the answers read here.
 *
 * Answers come from whoever a script names, so reading must be bounded. dns2's
 * own parser is not used for them: it drops a record that it cannot read and
 * goes on out of step, decodes TXT as UTF-8, and lets one packet cost seconds
 * (a header that claims 3 * 65535 records: 1.4 s; compression chains: 19 s).
 * Here every length is checked before it is trusted and any flaw throws
 * DnsFormatError. Names and texts are byte strings.
 */
import { Packet } from "dns2";

export type DnsSection = "AN" | "NS" | "AR";

export interface DnsSoa {
  readonly primary: string;
  /** The responsible mailbox as the record writes it, "hostmaster.example.com". */
  readonly mailbox: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export interface DnsRecord {
  readonly name: string;
  readonly section: DnsSection;
  readonly type: number;
  /** Seconds; what is left of it when the record comes from the cache. */
  readonly ttl: number;
  /**
   * A, AAAA: the address. NS, CNAME, PTR, MX, SRV: the host. TXT, SPF: the strings joined. SOA: the primary server.
   * WKS: "ADDRESS PROTOCOL PORT PORT ...", numbers. Any other type: the record's data, raw.
   */
  readonly value: string;
  /** MX and SRV. */
  readonly priority?: number;
  readonly srv?: { readonly weight: number; readonly port: number };
  readonly soa?: DnsSoa;
}

export interface DnsAnswer {
  readonly id: number;
  readonly truncated: boolean;
  /** Twelve bits when the server sent an OPT record, else four. */
  readonly rcode: number;
  /** The question echoed by the server; undefined when there is none. */
  readonly question: { readonly name: string; readonly type: number } | undefined;
  /** Records of class IN; none when the answer is truncated. OPT is not among them. */
  readonly records: readonly DnsRecord[];
}

export class DnsFormatError extends Error {
  override name = "DnsFormatError";
}

export const DNS_TYPE = Packet.TYPE;
const CLASS_IN = Packet.CLASS.IN;
const TYPE_OPT = Packet.TYPE.EDNS;
/** What fits unfragmented through any usual path (the DNS flag day's figure). */
const UDP_PAYLOAD = 1232;

/**
 * A name in the form that is sent and compared: no trailing dot, ASCII letters in lower case, "" for the root.
 * undefined when it cannot be asked for: an empty label, a label over 63 bytes, a name over 255 (RFC 1035 2.3.4).
 */
export function normaliseName(name: string): string | undefined {
  if (name === ".") return "";
  const bare = lowerAscii(name.endsWith(".") ? name.slice(0, -1) : name);
  if (bare.length > 253) return undefined;
  for (const label of bare.split(".")) if (label.length === 0 || label.length > 63) return undefined;
  return bare;
}

/** Names compare without regard to ASCII case; their other bytes stay as they are. */
function lowerAscii(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** True when `echoed`, as read from an answer, is the name asked for, as from normaliseName. */
export function isSameName(asked: string, echoed: string): boolean {
  return lowerAscii(echoed) === asked.replaceAll("\\", "\\\\");
}

/** One question of class IN that asks for recursion. `name` as from normaliseName. */
export function encodeQuery(id: number, name: string, type: number, edns: boolean): Buffer {
  const packet = new Packet();
  packet.header = new Packet.Header({ id, rd: 1 });
  packet.questions.push(new Packet.Question(name, type, CLASS_IN));
  if (edns) {
    const opt = Packet.Resource.EDNS([]);
    opt.class = UDP_PAYLOAD;
    packet.additionals.push(opt);
  }
  return packet.toBuffer();
}

/** The id of a message, or -1 when it is too short to be one. */
export function messageId(message: Buffer): number {
  return message.length < 12 ? -1 : message.readUInt16BE(0);
}

/** Reads a whole answer; throws DnsFormatError when it is not well-formed. */
export function decodeAnswer(message: Buffer): DnsAnswer {
  if (message.length < 12) throw new DnsFormatError(`message of ${message.length} bytes`);
  const flags = message.readUInt16BE(2);
  if ((flags & 0x8000) === 0) throw new DnsFormatError("a query where an answer was expected");
  const reader = new Reader(message, 12, message.length);
  const questions = message.readUInt16BE(4);
  let question: DnsAnswer["question"];
  for (let i = 0; i < questions; i++) {
    const name = reader.name();
    const type = reader.uint16();
    reader.uint16();
    question ??= { name, type };
  }
  const truncated = (flags & 0x0200) !== 0;
  const records: DnsRecord[] = [];
  let rcode = flags & 0xf;
  // A truncated answer may be cut anywhere, and is asked for again over TCP.
  if (!truncated) {
    const sections = ["AN", "NS", "AR"] as const;
    for (const [i, section] of sections.entries()) {
      for (let left = message.readUInt16BE(6 + 2 * i); left > 0; left--) {
        const record = readRecord(reader, section);
        if (typeof record === "number") rcode |= record << 4;
        else if (record) records.push(record);
      }
    }
  }
  return { id: message.readUInt16BE(0), truncated, rcode, question, records };
}

/** A record, the high bits of the RCODE from an OPT record, or undefined for a record of another class. */
function readRecord(reader: Reader, section: DnsSection): DnsRecord | number | undefined {
  const name = reader.name();
  const type = reader.uint16();
  const recordClass = reader.uint16();
  const wireTtl = reader.uint32();
  const data = reader.part(reader.uint16());
  if (type === TYPE_OPT) return wireTtl >>> 24;
  if (recordClass !== CLASS_IN) return undefined;
  // A TTL with the top bit set counts as 0 (RFC 2181 section 8).
  const ttl = wireTtl > 0x7fffffff ? 0 : wireTtl;
  const record = { name, section, type, ttl, ...readData(data, type) };
  if (data.left !== 0)
    throw new DnsFormatError(`${data.left} stray bytes after the data of a type ${type} record`);
  return record;
}

function readData(data: Reader, type: number): Pick<DnsRecord, "value" | "priority" | "srv" | "soa"> {
  switch (type) {
    case DNS_TYPE.A:
      return { value: readIPv4(data) };
    case DNS_TYPE.AAAA:
      return { value: Packet.toIPv6(Array.from({ length: 8 }, () => data.uint16())) };
    case DNS_TYPE.NS:
    case DNS_TYPE.CNAME:
    case DNS_TYPE.PTR:
      return { value: data.name() };
    case DNS_TYPE.MX:
      return { priority: data.uint16(), value: data.name() };
    case DNS_TYPE.TXT:
    case DNS_TYPE.SPF: {
      let value = "";
      while (data.left > 0) value += data.bytes(data.uint8());
      return { value };
    }
    case DNS_TYPE.SRV: {
      const priority = data.uint16();
      const srv = { weight: data.uint16(), port: data.uint16() };
      return { priority, srv, value: data.name() };
    }
    case DNS_TYPE.SOA: {
      const soa: DnsSoa = {
        primary: data.name(),
        mailbox: data.name(),
        serial: data.uint32(),
        refresh: data.uint32(),
        retry: data.uint32(),
        expire: data.uint32(),
        minimum: data.uint32(),
      };
      return { value: soa.primary, soa };
    }
    case DNS_TYPE.WKS: {
      const words = [readIPv4(data), String(data.uint8())];
      if (data.left > 8192) throw new DnsFormatError(`WKS port map of ${data.left} bytes`);
      for (let port = 0; data.left > 0; port += 8) {
        const bits = data.uint8();
        for (let bit = 0; bit < 8; bit++) if ((bits & (0x80 >> bit)) !== 0) words.push(String(port + bit));
      }
      return { value: words.join(" ") };
    }
    default:
      return { value: data.bytes(data.left) };
  }
}

function readIPv4(data: Reader): string {
  return `${data.uint8()}.${data.uint8()}.${data.uint8()}.${data.uint8()}`;
}

/** A cursor over [at, end) of a message; names may point back into all of it. */
class Reader {
  readonly #message: Buffer;
  readonly #end: number;
  #at: number;

  constructor(message: Buffer, at: number, end: number) {
    this.#message = message;
    this.#at = at;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  /** Steps over `length` bytes and returns the offset where they begin. */
  #take(length: number): number {
    const at = this.#at;
    if (length > this.left)
      throw new DnsFormatError(`${length} bytes expected at offset ${at}, ${this.left} there`);
    this.#at = at + length;
    return at;
  }

  uint8(): number {
    return this.#message[this.#take(1)]!;
  }

  uint16(): number {
    return this.#message.readUInt16BE(this.#take(2));
  }

  uint32(): number {
    return this.#message.readUInt32BE(this.#take(4));
  }

  bytes(length: number): string {
    const at = this.#take(length);
    return this.#message.toString("latin1", at, at + length);
  }

  /** A cursor over the next `length` bytes; this one goes on behind them. */
  part(length: number): Reader {
    const at = this.#take(length);
    return new Reader(this.#message, at, at + length);
  }

  /**
   * A name, its labels joined by dots; a dot or backslash inside a label has a backslash in front.
   * A pointer must lead in front of the place where the part that holds it began, so no chain can turn back.
   */
  name(): string {
    const message = this.#message;
    let at = this.#at;
    let end = this.#end;
    let partStart = at;
    let jumped = false;
    let jumps = 0;
    let octets = 1;
    let name = "";
    for (;;) {
      if (at >= end) throw new DnsFormatError(`name runs past its end at offset ${at}`);
      const length = message[at]!;
      if (length >= 0xc0) {
        if (at + 2 > end) throw new DnsFormatError(`pointer runs past its end at offset ${at}`);
        const target = message.readUInt16BE(at) & 0x3fff;
        // A name has at most 127 labels, so more pointers than that serve nobody.
        if (target >= partStart || ++jumps > 127) throw new DnsFormatError(`bad pointer at offset ${at}`);
        if (!jumped) this.#at = at + 2;
        jumped = true;
        end = message.length;
        at = target;
        partStart = target;
        continue;
      }
      if (length > 63) throw new DnsFormatError(`bad label length ${length} at offset ${at}`);
      at++;
      if (length === 0) break;
      octets += length + 1;
      if (octets > 255) throw new DnsFormatError(`name over 255 bytes at offset ${at}`);
      if (at + length > end) throw new DnsFormatError(`label runs past its end at offset ${at}`);
      const label = message.toString("latin1", at, at + length);
      const shown = /[.\\]/.test(label) ? label.replace(/[.\\]/g, "\\$&") : label;
      name = name === "" ? shown : `${name}.${shown}`;
      at += length;
    }
    if (!jumped) this.#at = at;
    return name;
  }
}
