/**
 * A message file made into what an MTA hands to a filter: every line ends in
 * CRLF, a blank line stands between header and body, an mbox "From " line
 * becomes a field. Follows smtpd(8) and cleanup(8) of Postfix. Never throws.
 */
import { fieldColon, isBlank, lineEnd } from "./headers.ts";

const CR = 0x0d;
const LF = 0x0a;

/** `raw` itself when nothing has to change, else a copy. No bytes stay no bytes. */
export function asMtaWould(raw: Buffer): Buffer {
  if (raw.length === 0) return raw;
  let bytes = crlf(raw);
  if (/^>*from /i.test(bytes.toString("latin1", 0, 64))) {
    bytes = Buffer.concat([Buffer.from("X-Mailbox-Line: "), bytes]);
  }
  const headerEnd = endOfHeader(bytes);
  if (isBlank(bytes, headerEnd)) return bytes;
  return Buffer.concat([bytes.subarray(0, headerEnd), Buffer.from("\r\n"), bytes.subarray(headerEnd)]);
}

/** Offset of the blank line, or of the first line that is no header field, or of the end. */
function endOfHeader(bytes: Buffer): number {
  let pos = 0;
  while (pos < bytes.length && !isBlank(bytes, pos)) {
    const next = lineEnd(bytes, pos);
    const continues = bytes[pos] === 0x20 || bytes[pos] === 0x09;
    if (continues ? pos === 0 : fieldColon(bytes, pos, next) < 0) break;
    pos = next;
  }
  return pos;
}

/** Every LF gets its CR, and the last line its end. */
function crlf(raw: Buffer): Buffer {
  let bare = 0;
  for (let at = raw.indexOf(LF); at >= 0; at = raw.indexOf(LF, at + 1)) {
    if (at === 0 || raw[at - 1] !== CR) bare++;
  }
  const ended = raw[raw.length - 1] === LF;
  if (bare === 0 && ended) return raw;
  const out = Buffer.allocUnsafeSlow(raw.length + bare + (ended ? 0 : 2));
  let write = 0;
  let start = 0;
  for (let at = raw.indexOf(LF); at >= 0; at = raw.indexOf(LF, start)) {
    if (at > 0 && raw[at - 1] === CR) {
      write += raw.copy(out, write, start, at + 1);
    } else {
      write += raw.copy(out, write, start, at);
      out[write++] = CR;
      out[write++] = LF;
    }
    start = at + 1;
  }
  write += raw.copy(out, write, start);
  if (!ended) write += out.write("\r\n", write, "latin1");
  return out.subarray(0, write);
}
