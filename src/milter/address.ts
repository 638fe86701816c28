/**
 * Addresses to listen on or connect to, as libmilter and Postfix write them:
 *
 *   unix:/path  local:/path            a unix socket
 *   inet:port@host   inet:host:port    IPv4
 *   inet6:port@host  inet6:[host]:port IPv6
 *
 * Throws TypeError, saying what was expected, on anything else. A host is
 * always asked for: to listen on all interfaces is something to be written out
 * (inet:8891@0.0.0.0).
 */

export type MilterAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "inet" | "inet6"; readonly host: string; readonly port: number };

/** Longest path that fits into sockaddr_un with its NUL. */
const MAX_UNIX_PATH = 107;

export function parseAddress(text: string): MilterAddress {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(colon, 0));
  const rest = text.slice(colon + 1);
  if (kind === "unix" || kind === "local") return unixAddress(text, rest);
  if (kind === "inet" || kind === "inet6") return internetAddress(text, kind, rest);
  throw bad(text, "unix:/path, inet:port@host or inet6:port@host expected");
}

/** In the form parseAddress takes; a path or host as it was given. */
export function formatAddress(address: MilterAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `${address.kind}:${address.port}@${address.host}`;
}

function unixAddress(text: string, path: string): MilterAddress {
  if (path === "" || path.includes("\0")) throw bad(text, "a path is missing");
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_UNIX_PATH) {
    throw bad(text, `the path has ${bytes} bytes, a unix socket's at most ${MAX_UNIX_PATH}`);
  }
  return { kind: "unix", path };
}

function internetAddress(text: string, kind: "inet" | "inet6", rest: string): MilterAddress {
  const libmilter = /^(\d+)@\[?([^\s@[\]]+)\]?$/.exec(rest);
  const postfix = /^(?:\[([^\s@[\]]+)\]|([^\s@:[\]]+)):(\d+)$/.exec(rest);
  const host = libmilter?.[2] ?? postfix?.[1] ?? postfix?.[2];
  const port = Number(libmilter?.[1] ?? postfix?.[3]);
  if (host === undefined) throw bad(text, `${kind}:port@host expected`);
  if (port > 65535) throw bad(text, `a port from 0 to 65535 expected, got ${port}`);
  return { kind, host, port };
}

function bad(text: string, expected: string): TypeError {
  return new TypeError(`milter address ${JSON.stringify(text)}: ${expected}`);
}
