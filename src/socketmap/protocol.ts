/** Requests and replies of Postfix's socketmap client (socketmap_table(5)). Texts are byte strings: each char code is a byte. */
import { encodeNetstring, SocketmapError } from "./netstring.ts";

export interface SocketmapRequest {
  /** The name behind the last colon of "socketmap:unix:/path:NAME". */
  readonly map: string;
  /** May be empty, and may hold spaces. */
  readonly key: string;
}

export type SocketmapReply =
  | { readonly kind: "found"; readonly data: string }
  | { readonly kind: "notFound" }
  /** The look-up failed; what Postfix makes of it depends on the table, mostly a 4xx to the client. */
  | { readonly kind: "temporary" | "timeout" | "permanent"; readonly reason: string };

/** Longest reply that Postfix takes, and longest request that is worth reading. */
export const MAX_REPLY = 100_000;

/** Reads the payload of a request, "MAP KEY". @throws SocketmapError */
export function readRequest(payload: Buffer): SocketmapRequest {
  const text = payload.toString("latin1");
  const space = text.indexOf(" ");
  if (space < 1)
    throw new SocketmapError("ERR_SOCKETMAP_MALFORMED", "a request without a map's name and a space");
  return { map: text.slice(0, space), key: text.slice(space + 1) };
}

const WORDS = { temporary: "TEMP", timeout: "TIMEOUT", permanent: "PERM" } as const;

/** The netstring of a reply. Line breaks and NUL become spaces. @throws RangeError when it is longer than Postfix takes */
export function writeReply(reply: SocketmapReply): Buffer {
  const text =
    reply.kind === "found"
      ? `OK ${reply.data}`
      : reply.kind === "notFound"
        ? "NOTFOUND "
        : `${WORDS[reply.kind]} ${reply.reason}`;
  if (text.length > MAX_REPLY)
    throw new RangeError(`a reply of ${text.length} bytes; Postfix takes ${MAX_REPLY}`);
  return encodeNetstring(Buffer.from(text.replace(/[\r\n\0]/g, " "), "latin1"));
}
