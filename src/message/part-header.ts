/**
 * New values for the fields that say how a text part is written (RFC 2045):
 * charset in Content-Type, Content-Transfer-Encoding. Everything else in the
 * header keeps its bytes, other parameters and folds included.
 */
import type { Edit } from "./edit.ts";
import { structuredValue } from "./header-text.ts";
import type { HeaderFields } from "./headers.ts";

export interface HeaderChange {
  readonly charset?: string;
  readonly encoding?: string;
}

const TYPE = "Content-Type";
const ENCODING = "Content-Transfer-Encoding";

/** The edits that make the change in a message's own header; undefined when its Content-Type defies it. */
export function headerEdits(headers: HeaderFields, change: HeaderChange): Edit[] | undefined {
  const values = newValues(headers, change);
  if (values === undefined) return undefined;
  const edits: Edit[] = [];
  for (const [name, value] of values) {
    const folded = value.replaceAll("\r\n", "\n");
    const field = headers.first(name);
    if (field === undefined) edits.push({ kind: "addHeader", name, value: folded });
    else edits.push({ kind: "changeHeader", name: field.name, index: 1, value: folded });
  }
  if (edits.length > 0 && headers.first("MIME-Version") === undefined) {
    edits.push({ kind: "addHeader", name: "MIME-Version", value: " 1.0" });
  }
  return edits;
}

/** The header block `headers` with the change, without the blank line; undefined when its Content-Type defies it. */
export function changedBlock(headers: HeaderFields, change: HeaderChange): Buffer | undefined {
  const values = newValues(headers, change);
  if (values === undefined) return undefined;
  const { bytes } = headers;
  const lineEnd = bytes.length > 0 && !bytes.includes("\r\n") ? "\n" : "\r\n";
  const spans = [...values]
    .map(([name, value]) => ({ name, value, span: headers.first(name)?.span }))
    .sort((a, b) => (a.span?.start ?? bytes.length) - (b.span?.start ?? bytes.length));
  const pieces: Buffer[] = [];
  let at = 0;
  for (const { name, value, span } of spans) {
    pieces.push(bytes.subarray(at, span?.value ?? bytes.length));
    pieces.push(Buffer.from(span === undefined ? `${name}:${value}${lineEnd}` : value, "latin1"));
    at = span?.end ?? bytes.length;
  }
  return Buffer.concat([...pieces, bytes.subarray(at)]);
}

/** What is to stand after the colon of each field that changes. */
function newValues(headers: HeaderFields, change: HeaderChange): Map<string, string> | undefined {
  const values = new Map<string, string>();
  if (change.charset !== undefined) {
    const field = headers.first(TYPE);
    const value = field === undefined ? " text/plain" : field.line.slice(field.line.indexOf(":") + 1);
    const changed = withCharset(value, change.charset);
    if (changed === undefined) return undefined;
    values.set(TYPE, changed);
  }
  if (change.encoding !== undefined) values.set(ENCODING, ` ${change.encoding}`);
  return values;
}

/** Quoted strings and comments are passed over: what looks like a parameter there is none. */
const CHARSET =
  /"(?:[^"\\]|\\[\s\S])*"|\((?:[^()\\]|\\[\s\S])*\)|(;\s*charset\s*=\s*)("(?:[^"\\]|\\[\s\S])*"|[^\s;()"]*)/gi;

function withCharset(value: string, charset: string): string | undefined {
  let replaced = false;
  let changed = value.replace(CHARSET, (whole: string, name: string | undefined) => {
    if (name === undefined || replaced) return whole;
    replaced = true;
    return name + charset;
  });
  if (!replaced) changed = `${value.replace(/[;\s]+$/, "")}; charset=${charset}`;
  const before = structuredValue(value);
  const after = structuredValue(changed);
  return after.value === before.value && after.raw("charset") === charset ? changed : undefined;
}
