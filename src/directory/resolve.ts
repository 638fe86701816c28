/**
 * Where an address leads: Postfix's address classes and the transport
 * (trivial-rewrite's resolve.c). The domain decides the class; transport_maps
 * may send it by another transport, and the class stays.
 */
import { find, findLast, internalize, quote, rewrite, scan, splitAddress, type Token } from "./address.ts";
import type { Lookup } from "./lookup.ts";
import type { PostfixSettings } from "./postfix-settings.ts";
import { findAddress, findTransport, matchesList, type Tables } from "./tables.ts";

export type AddressClass = "local" | "alias" | "virtual" | "relay" | "default";

export interface Destination {
  readonly class: AddressClass;
  /** Of master.cf, such as "local", "smtp", "error". */
  readonly transport: string;
  /** Internal form; may differ from what was asked where the address had a route in it. */
  readonly recipient: string;
}

/** What all of an expansion's steps read. */
export interface Postfix {
  readonly settings: PostfixSettings;
  readonly tables: Tables;
}

/** Whether `domain` is this host's own (mydestination, and its addresses in brackets). */
export function isLocalDomain(postfix: Postfix, lookup: Lookup, domain: string): boolean {
  const { settings, tables } = postfix;
  const name = domain.toLowerCase().replace(/([^.])\.$/, "$1");
  if (name === "" || name.endsWith(".")) return false;
  if (matchesList(lookup, tables, settings.words("mydestination"), name)) return true;
  const literal = /^\[(?:ipv6:)?(.+)\]$/.exec(name)?.[1];
  return literal !== undefined && settings.ownAddresses.includes(literal);
}

/** @returns undefined for an address whose syntax Postfix bounces */
export function resolve(postfix: Postfix, lookup: Lookup, address: string): Destination | undefined {
  const { settings } = postfix;
  const { recipient, local } = stripLocal(postfix, lookup, address);
  const [user, domain] = splitAddress(recipient);
  if (!isDomain(domain)) return undefined;
  if (user.startsWith("-") && !settings.is("allow_min_user")) return undefined;
  const name = local ? "local" : classOf(postfix, lookup, domain.toLowerCase());
  const transport = transportOf(postfix, lookup, name, recipient);
  return { class: name, transport, recipient };
}

function classOf({ settings, tables }: Postfix, lookup: Lookup, domain: string): AddressClass {
  const listed = (name: "virtual_alias_domains" | "virtual_mailbox_domains") =>
    matchesList(lookup, tables, settings.words(name), domain);
  if (listed("virtual_alias_domains")) return "alias";
  if (listed("virtual_mailbox_domains")) return "virtual";
  const plainParents = settings.words("parent_domain_matches_subdomains").includes("relay_domains");
  const below = { below: true, plainParents };
  return matchesList(lookup, tables, settings.words("relay_domains"), domain, below) ? "relay" : "default";
}

const TRANSPORTS = {
  local: "local_transport",
  virtual: "virtual_transport",
  relay: "relay_transport",
  default: "default_transport",
} as const;

function transportOf(postfix: Postfix, lookup: Lookup, name: AddressClass, recipient: string): string {
  if (name === "alias") return "error";
  const { settings, tables } = postfix;
  const isLocal = (domain: string) => isLocalDomain(postfix, lookup, domain);
  const relocated = findAddress(lookup, tables.maps("relocated_maps"), recipient, settings, isLocal);
  if (relocated !== undefined) return "error";
  const mapped = findTransport(lookup, tables.maps("transport_maps"), recipient, settings);
  return channel(mapped ?? "") || channel(settings.text(TRANSPORTS[name]));
}

function channel(transport: string): string {
  return transport.split(":")[0] ?? "";
}

/** Takes our own domains off, so that what is before them shows: user%host@us is user@host. */
function stripLocal(
  { settings, tables }: Postfix,
  lookup: Lookup,
  address: string,
): { recipient: string; local: boolean } {
  const rules = settings.rewrite;
  let tree = scan(quote(address));
  let saved: Token[] | undefined;
  for (let left = address.length + 100; left > 0; left--) {
    if (tree.at(-1)?.type === "." && findLast(tree, "@") >= 0 && tree.at(-2)?.type !== ".") tree.pop();
    if (tree.at(-1)?.type === "@") tree.pop();
    const at = findLast(tree, "@");
    if (at >= 0) {
      const domain = internalize(tree.slice(at + 1));
      if (!isLocalDomain({ settings, tables }, lookup, domain)) {
        return { recipient: internalize(tree), local: false };
      }
      saved = tree.slice(at);
      tree = tree.slice(0, at);
    }
    const [word] = tree;
    const routed =
      findLast(tree, "@") >= 0 ||
      (rules.swapBangPath && find(tree, "!") >= 0) ||
      (rules.percentHack && find(tree, "%") >= 0);
    if (routed) {
      tree = rewrite(tree, rules);
      continue;
    }
    if (tree.length === 1 && word?.type === "quoted" && settings.is("resolve_dequoted_address")) {
      const opened = openQuoted(word.text, rules);
      if (opened !== undefined) {
        tree = rewrite(opened, rules);
        continue;
      }
    }
    break;
  }
  const user = internalize(tree) || "MAILER-DAEMON";
  const domain = saved === undefined ? `@${settings.text("myhostname")}` : internalize(saved);
  return { recipient: user + domain, local: true };
}

/** A quoted local part with a route in it. */
function openQuoted(
  local: string,
  rules: { readonly percentHack: boolean; readonly swapBangPath: boolean },
): Token[] | undefined {
  if (local.includes("@")) return scan(quote(local));
  if (rules.percentHack && local.includes("%")) {
    const at = local.lastIndexOf("%");
    return scan(quote(`${local.slice(0, at)}@${local.slice(at + 1)}`));
  }
  return rules.swapBangPath && local.includes("!") ? scan(local) : undefined;
}

/** A name that can be a host's, or an address in brackets. */
function isDomain(domain: string): boolean {
  if (/^\[.+\]$/.test(domain)) return /^\[(?:ipv6:)?[0-9a-f.:]+\]$/i.test(domain);
  if (domain.length > 255 || /^[\d.]+$/.test(domain)) return false;
  return domain
    .split(".")
    .every(
      (label) =>
        /^[\p{L}\p{N}_](?:[\p{L}\p{M}\p{N}_-]*[\p{L}\p{M}\p{N}_])?$/u.test(label) && label.length < 64,
    );
}
