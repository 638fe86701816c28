/**
 * Puts a signature into the body texts of a message: planSignature() says
 * which texts there are, insertSignature() gives the edits.
 *
 * A text that can hold the signature as it is written gets just these bytes
 * more; any other is written anew, decoded content unchanged, and nothing
 * outside it moves. A message that a change would break (signed, encrypted, a
 * report) is left alone, and so is a text that is not understood for certain
 * or carries the signature already; why is reported. Linear time; memory for
 * one more copy of the body.
 */
import { isAscii, isUtf8 } from "node:buffer";
import { toBytes } from "../bytes.ts";
import { bodyTexts } from "./body-texts.ts";
import { UTF_8 } from "./charset.ts";
import type { Edit } from "./edit.ts";
import type { MimeStructure } from "./mime.ts";
import { changedBlock, type HeaderChange, headerEdits } from "./part-header.ts";
import { SameText } from "./same-text.ts";
import { htmlInsertion, type Insertion, plainInsertion } from "./signature-insertion.ts";
import type { SignaturePosition } from "./signature-place.ts";
import { atOnce, type Steps } from "./steps.ts";
import { type TextPart, type TextSource, textPart } from "./text-part.ts";
import { recoded } from "./text-recode.ts";
import { survey, type TextSurvey } from "./text-survey.ts";
import { range } from "./transfer.ts";

export type SignatureFormat = "PLAIN" | "HTML";

/** Byte strings as scripts return them: UTF-8, or else windows-1252; lines end in LF or CRLF. "" is no signature. */
export type SignatureTexts = Readonly<Record<SignatureFormat, string>>;

/** A text, by its path, or ("") the whole message. */
export interface LeftAlone {
  readonly path: string;
  readonly why: string;
}

export interface SignaturePlan {
  readonly texts: readonly TextPart[];
  readonly left: readonly LeftAlone[];
  /** What the texts are written in, plain text first. */
  readonly formats: readonly SignatureFormat[];
}

export interface SignatureOptions {
  readonly position: SignaturePosition;
  /** The most bytes that the message may have afterwards; 0 is no limit. */
  readonly maxBytes: number;
}

export interface SignatureResult {
  /** Changed header fields, and at most one replaceBody. */
  readonly edits: readonly Edit[];
  /** The texts that carry it now, by path, and how they are written if that is new. */
  readonly changed: readonly { readonly path: string; readonly how: string }[];
  readonly left: readonly LeftAlone[];
}

export function planSignature(source: TextSource, structure: MimeStructure): SignaturePlan {
  const { parts, why } = bodyTexts(source.headers, structure);
  const texts: TextPart[] = [];
  const left: LeftAlone[] = why === "" ? [] : [{ path: "", why }];
  for (const part of parts) {
    const text = textPart(source, structure.parts, part);
    if ("why" in text) left.push({ path: part.path, why: text.why });
    else texts.push(text);
  }
  const formats = (["PLAIN", "HTML"] as const).filter((format) =>
    texts.some((text) => formatOf(text) === format),
  );
  return { texts, left, formats };
}

export function insertSignature(
  source: TextSource,
  plan: SignaturePlan,
  signatures: SignatureTexts,
  options: SignatureOptions,
): SignatureResult {
  return atOnce(insertionSteps(source, plan, signatures, options));
}

/** The same, step by step; the source stays as it is meanwhile. */
export function* insertionSteps(
  source: TextSource,
  plan: SignaturePlan,
  signatures: SignatureTexts,
  options: SignatureOptions,
): Steps<SignatureResult> {
  const left = [...plan.left];
  const whole = (why: string): SignatureResult => ({ edits: [], changed: [], left: [{ path: "", why }] });
  const changes: TextChange[] = [];
  for (const text of plan.texts) {
    const signature = readable(signatures[formatOf(text)]);
    if (signature.trim() === "") continue;
    const seen = yield* survey(text, options.position);
    if (seen.armoured) return whole("the message is signed or encrypted (OpenPGP in its text)");
    const change = yield* changeOf(text, seen, signature);
    if ("why" in change) left.push({ path: text.part.path, why: change.why });
    else changes.push(change);
  }
  if (changes.length === 0) return { edits: [], changed: [], left };
  const splices = changes.flatMap((change) => change.splices);
  const pieces: Buffer[] = [];
  let bytes = 0;
  for (const piece of spliced(source, splices)) {
    pieces.push(piece);
    bytes += piece.length;
    yield;
  }
  if (options.maxBytes > 0 && source.bodyStart + bytes > options.maxBytes) {
    return whole("the message would become too large");
  }
  return {
    edits: [
      ...changes.flatMap(({ headers }) => headers),
      { kind: "replaceBody", body: Buffer.concat(pieces, bytes) },
    ],
    changed: changes.map(({ path, how }) => ({ path, how })),
    left,
  };
}

/** `bytes` in place of [start, end) of the message. */
interface Splice {
  readonly start: number;
  readonly end: number;
  readonly bytes: readonly Buffer[];
}

interface TextChange {
  readonly path: string;
  readonly how: string;
  readonly splices: readonly Splice[];
  readonly headers: readonly Edit[];
}

function formatOf(text: TextPart): SignatureFormat {
  return text.html ? "HTML" : "PLAIN";
}

/** Text of a byte string, without control characters but tabs and line ends, which become LF. */
function readable(byteString: string): string {
  const bytes = toBytes(byteString);
  const text = new TextDecoder(isUtf8(bytes) ? "utf-8" : "windows-1252").decode(bytes);
  return text.replace(/\r\n?/g, "\n").replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "");
}

function* changeOf(text: TextPart, seen: TextSurvey, signature: string): Steps<TextChange | { why: string }> {
  const { part, charset } = text;
  const insertion = (text.html ? htmlInsertion : plainInsertion)(text, seen, signature);
  const undeclared = charset.name === "" && seen.eightBit;
  if (insertion.bytes === undefined && undeclared) return { why: "it has 8-bit text that names no charset" };
  try {
    if (yield* carries(text, seen, signature, insertion)) return { why: "it carries the signature already" };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw error;
    return { why: `it is not valid ${charset.name}` };
  }
  if (insertion.bytes !== undefined && fits(text, seen, insertion.bytes)) {
    const at = part.bodyStart + seen.place.offset;
    const splices = [{ start: at, end: at, bytes: [insertion.bytes] }];
    return { path: part.path, how: "", splices, headers: [] };
  }
  return yield* rewritten(text, seen, insertion);
}

/** @throws TypeError of the decoder's where the text is none of its charset */
function* carries(text: TextPart, seen: TextSurvey, signature: string, insertion: Insertion): Steps<boolean> {
  const same = new SameText(signature, text.html);
  const read = () => text.charset.decode(text.bytes());
  // Also reads the text to its end, which finds bytes that are none of its charset.
  const maybe = yield* same.maybeCarried(read());
  if (same.comparable && maybe && (yield* same.carried(read()))) return true;
  const literal = insertion.bytes?.toString("latin1").trim();
  if (literal === undefined || (same.comparable && !text.html)) return false;
  // A picture says nothing, and broken HTML may hide what stands just where it would go.
  const { offset } = seen.place;
  const [from, to] = same.comparable ? [offset - literal.length - 4, offset] : [0, Number.POSITIVE_INFINITY];
  let tail = "";
  for (const piece of range(text.bytes(), from, to)) {
    const bytes = tail + piece.toString("latin1");
    if (bytes.includes(literal)) return true;
    yield;
    tail = bytes.slice(-literal.length);
  }
  return false;
}

/** RFC 5322 section 2.1.1. */
const MAX_LINE = 998;

/** Whether `bytes` can stand in the text just so. */
function fits(text: TextPart, seen: TextSurvey, bytes: Buffer): boolean {
  if (text.encoding !== "") return false;
  if (!isAscii(bytes) && !text.eightBit && !seen.eightBit) return false;
  return bytes
    .toString("latin1")
    .split("\n")
    .every((line) => {
      if (line.length > MAX_LINE) return false;
      return !(line.startsWith("--") && text.boundaries.some((boundary) => line.startsWith(boundary, 2)));
    });
}

function* rewritten(
  text: TextPart,
  seen: TextSurvey,
  insertion: Insertion,
): Steps<TextChange | { why: string }> {
  const { part, headers } = text;
  const switches = insertion.bytes === undefined;
  const { encoding, pieces } = yield* recoded(
    text,
    seen,
    insertion.bytes ?? UTF_8.encode(insertion.text)!,
    switches,
  );
  const change: HeaderChange = {
    ...(switches ? { charset: UTF_8.name } : {}),
    ...(encoding === text.encoding ? {} : { encoding }),
  };
  const how = Object.values(change).join(", ");
  const body = { start: part.bodyStart, end: part.end, bytes: pieces };
  const refused = { why: "its Content-Type cannot be changed" };
  if (part.parent < 0) {
    const edits = headerEdits(headers, change);
    return edits === undefined ? refused : { path: part.path, how, splices: [body], headers: edits };
  }
  const block = changedBlock(headers, change);
  if (block === undefined) return refused;
  const header = { start: part.start, end: part.start + headers.bytes.length, bytes: [block] };
  return { path: part.path, how, splices: [header, body], headers: [] };
}

/** The body with all `splices`, none of which overlap. */
function* spliced(source: TextSource, splices: readonly Splice[]): Generator<Buffer> {
  let at = source.bodyStart;
  for (const { start, end, bytes } of splices.toSorted((a, b) => a.start - b.start)) {
    yield* source.chunks(at, start);
    yield* bytes;
    at = end;
  }
  yield* source.chunks(at);
}
