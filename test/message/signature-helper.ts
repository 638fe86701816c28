/** Signing messages in tests, and looking at what came of it with other eyes than the code that did it. */
import { fromBytes, toBytes } from "../../src/bytes.ts";
import type { Edit } from "../../src/message/edit.ts";
import { type MimePart, structure } from "../../src/message/mime.ts";
import {
  insertSignature,
  planSignature,
  type SignatureOptions,
  type SignatureResult,
} from "../../src/message/signature.ts";
import { MessageStore } from "../../src/message/store.ts";
import { decoded } from "../../src/message/transfer.ts";

export interface Signed {
  /** The message after the edits. */
  readonly raw: Buffer;
  readonly result: SignatureResult;
}

/** Texts are ordinary strings. `pieces`: how what is read from the store comes. */
export function sign(
  raw: Buffer,
  signatures: { readonly plain?: string; readonly html?: string },
  options: Partial<SignatureOptions> = {},
  pieces?: (bytes: Buffer) => Buffer[],
): Signed {
  const store = MessageStore.fromBytes(raw, { verbatim: true });
  const { headers, bodyStart, size } = store;
  const source = {
    headers,
    bodyStart,
    size,
    slice: (start: number, end?: number) => store.slice(start, end),
    chunks: (start?: number, end?: number) =>
      pieces === undefined
        ? store.chunks(start, end)
        : (pieces(store.slice(start ?? 0, end)).values() as never),
  };
  const bytes = (text = "") => fromBytes(Buffer.from(text));
  const result = insertSignature(
    source,
    planSignature(source, structure(store)),
    { PLAIN: bytes(signatures.plain), HTML: bytes(signatures.html) },
    { position: "end", maxBytes: 0, ...options },
  );
  return { raw: edited(store, result.edits), result };
}

/** The message with header fields changed or added at the end and its body replaced; every other byte as it was. */
function edited(store: MessageStore, edits: readonly Edit[]): Buffer {
  let header = fromBytes(store.headers.bytes);
  let body: Uint8Array = store.slice(store.bodyStart);
  const blank = fromBytes(store.slice(store.headers.bytes.length, store.bodyStart));
  for (const edit of edits) {
    if (edit.kind === "replaceBody") body = edit.body;
    else if (edit.kind === "addHeader") header += `${edit.name}:${edit.value.replaceAll("\n", "\r\n")}\r\n`;
    else if (edit.kind === "changeHeader") {
      const { name, value, index } = edit;
      if (index !== 1) throw new Error(`field ${index} of ${name}`);
      const { headers } = MessageStore.fromBytes(toBytes(header), { verbatim: true });
      const span = headers.first(name)!.span;
      header = `${header.slice(0, span.value)}${value.replaceAll("\n", "\r\n")}${header.slice(span.end)}`;
    } else throw new Error(`an edit ${edit.kind}`);
  }
  return Buffer.concat([toBytes(header + blank), body]);
}

export interface SeenPart {
  readonly part: MimePart;
  /** Decoded and read in its charset; "" for what is no text. */
  readonly text: string;
  readonly bytes: Buffer;
}

/** The parts of a message by path. */
export function partsOf(raw: Buffer): Map<string, SeenPart> {
  const store = MessageStore.fromBytes(raw, { verbatim: true });
  return new Map(
    structure(store).parts.map((part) => {
      const bytes = store.slice(part.start, part.end);
      const content = decoded(part.encoding, [store.slice(part.bodyStart, part.end)]);
      const isText = part.contentType === "text";
      return [
        part.path,
        { part, bytes, text: isText ? read(Buffer.concat([...content]), part.charset) : "" },
      ];
    }),
  );
}

function read(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset || "us-ascii", { ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes.toString("latin1");
  }
}

/** What is left of the body when the parts `paths` are cut out. */
export function without(raw: Buffer, paths: readonly string[]): Buffer {
  const store = MessageStore.fromBytes(raw, { verbatim: true });
  const parts = structure(store).parts.filter(({ path }) => paths.includes(path));
  const pieces: Buffer[] = [];
  let at = store.bodyStart;
  for (const part of parts) {
    const start = part.parent < 0 ? part.bodyStart : part.start;
    pieces.push(store.slice(at, start), Buffer.from(`<${part.path}>`));
    at = part.end;
  }
  return Buffer.concat([...pieces, store.slice(at)]);
}
