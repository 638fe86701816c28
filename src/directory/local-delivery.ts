/**
 * What local(8) makes of a recipient: alias_maps with :include: files, owner-
 * aliases, programs and files, then the mailbox (alias.c, include.c,
 * recipient.c, unknown.c). Nothing is delivered; ~/.forward files, which
 * belong to the users, are not read.
 *
 * Loops end where local(8) ends them, and count as problems: Postfix would
 * send that recipient's mail back.
 */
import { readFileSync, type Stats, statSync } from "node:fs";
import { canonical, internalize, parseList, scan, splitAddress, splitExtension } from "./address.ts";
import { withExtension } from "./cleanup.ts";
import { ExpansionError } from "./expander.ts";
import { forAll, isSettled, type Lookup, stampOf } from "./lookup.ts";
import type { Parameter } from "./postfix-settings.ts";
import { type Destination, type Postfix, resolve } from "./resolve.ts";

export interface LocalResults {
  /** The recipient has a mailbox. */
  mailbox(recipient: string): void;
  target(name: string, recipient: string, target: "program" | "file"): void;
  /** The alias `name` is a mailing list: it has an owner- alias or includes a file. */
  list(name: string, recipient: string): void;
  /** A new message goes to `recipient`, after passing the addresses `delivered`. */
  forward(recipient: string, delivered: readonly string[]): void;
  /** Postfix would send the mail back; a sentence. */
  problem(sentence: string): void;
}

const MAX_LEVEL = 100;

interface State {
  readonly level: number;
  /** The alias whose result this is. */
  readonly from: string | undefined;
  /** Set while members of a list are handled, whose mail is submitted anew. */
  readonly owner: string | undefined;
  readonly included: boolean;
  /** The extension to put on to results. */
  readonly unmatched: string;
}

const START: State = { level: 0, from: undefined, owner: undefined, included: false, unmatched: "" };

/** @param trail addresses that the message was delivered to before */
export function deliverLocally(
  postfix: Postfix,
  lookup: Lookup,
  includes: IncludeFiles,
  { recipient, transport }: Destination,
  trail: readonly string[],
  results: LocalResults,
): void {
  const delivery = new LocalDelivery(postfix, lookup, includes, transport, recipient, trail, results);
  delivery.deliver(recipient, START);
}

class LocalDelivery {
  readonly #postfix: Postfix;
  readonly #lookup: Lookup;
  readonly #includes: IncludeFiles;
  readonly #transport: string;
  readonly #trail: readonly string[];
  readonly #delivered: readonly string[];
  readonly #results: LocalResults;
  readonly #done = new Set<string>();

  constructor(
    postfix: Postfix,
    lookup: Lookup,
    includes: IncludeFiles,
    transport: string,
    recipient: string,
    trail: readonly string[],
    results: LocalResults,
  ) {
    this.#postfix = postfix;
    this.#lookup = lookup;
    this.#includes = includes;
    this.#transport = transport;
    this.#trail = trail;
    this.#delivered = [...trail, recipient.toLowerCase()];
    this.#results = results;
  }

  deliver(recipient: string, before: State): void {
    const state = { ...before, level: before.level + 2 };
    const address = recipient.toLowerCase();
    if (state.level - 1 > MAX_LEVEL) {
      this.#results.problem(`${recipient}: aliases lead in a circle`);
      return;
    }
    if (this.#seen(`recipient ${state.level} ${address}`)) return;
    if (this.#trail.includes(address)) {
      this.#results.problem(`${recipient}: mail forwarding loop`);
      return;
    }
    const { settings } = this.#postfix;
    const [local] = splitAddress(address);
    const [user, given] = splitExtension(local, settings.extension);
    // A slash would leave the mailbox's directory.
    const extension = given.includes("/") ? "" : given;
    const name = user + extension;
    if (this.#alias(recipient, name, { ...state, unmatched: "" }, [name, user])) return;
    if (extension !== "") {
      const unmatched = this.#propagates("alias") ? extension : "";
      if (this.#alias(recipient, user, { ...state, unmatched }, [name, user])) return;
    }
    const other = state.owner !== undefined && state.owner.toLowerCase() !== user;
    if (other || state.included) this.#forward(recipient);
    else this.#mailbox(recipient, name, user, extension, state);
  }

  /** @returns false when there is no such alias, or when it is the mailbox that is meant */
  #alias(recipient: string, name: string, before: State, keys: readonly string[]): boolean {
    const level = before.level + 1;
    if (before.from?.toLowerCase() === name) return false;
    if (level > MAX_LEVEL) {
      this.#results.problem(`${recipient}: aliases lead in a circle`);
      return true;
    }
    const aliases = this.#postfix.tables.maps("alias_maps").whole;
    if (aliases === undefined || name === "") return false;
    const wanted = keys.flatMap((key) => [key, `owner-${key}`]);
    if (!this.#lookup.has(aliases, name)) for (const key of wanted) this.#lookup.has(aliases, key);
    const value = this.#lookup.get(aliases, name);
    if (value === undefined) return false;
    const { settings } = this.#postfix;
    const special = settings.is("owner_request_special");
    const owned = special && this.#lookup.get(aliases, `owner-${name}`) !== undefined;
    const owner = owned ? canonical(scan(`owner-${name}`), settings.rewrite) : undefined;
    const members = parseList(value);
    const list = owned || members.some((member) => INCLUDE.test(internalize(member)));
    if (list) this.#results.list(name, recipient);
    if (members.length === 0) throw new ExpansionError(`alias_maps: ${name} has no recipient`);
    this.#members(
      members,
      recipient,
      name,
      { ...before, level, from: name, owner, included: false },
      "alias",
    );
    return true;
  }

  #members(
    members: readonly ReturnType<typeof scan>[],
    recipient: string,
    local: string,
    state: State,
    source: "alias" | "include",
  ): void {
    forAll(members, (member) => {
      const text = internalize(member);
      if (text.startsWith("/")) this.#target(text, recipient, "file", source);
      else if (text.startsWith("|")) this.#target(text, recipient, "program", source);
      else if (text.startsWith("~")) this.#results.problem(`${text}: there is no home directory here`);
      else if (INCLUDE.test(text)) this.#include(text.replace(INCLUDE, ""), recipient, local, state);
      else this.#resolve(canonical(member, this.#postfix.settings.rewrite), state);
    });
  }

  #target(text: string, recipient: string, target: "program" | "file", source: "alias" | "include"): void {
    const parameter: Parameter = target === "file" ? "allow_mail_to_files" : "allow_mail_to_commands";
    if (this.#postfix.settings.words(parameter).includes(source)) {
      this.#results.target(text, recipient, target);
    } else this.#results.problem(`${text}: ${parameter} has no "${source}"`);
  }

  #resolve(address: string, before: State): void {
    const state = { ...before, level: before.level + 1 };
    const destination = resolve(this.#postfix, this.#lookup, address);
    if (destination === undefined) {
      this.#results.problem(`${address}: bad address syntax`);
      return;
    }
    const recipient =
      state.unmatched === "" ? destination.recipient : withExtension(destination.recipient, state.unmatched);
    if (destination.transport === this.#transport) this.deliver(recipient, state);
    else this.#forward(recipient);
  }

  #include(path: string, recipient: string, local: string, before: State): void {
    const level = before.level + 1;
    if (level > MAX_LEVEL) {
      this.#results.problem(`:include:${path}: nested too deep`);
      return;
    }
    if (this.#seen(`include ${path}`)) return;
    const text = this.#includes.read(path);
    if (typeof text !== "string") {
      this.#results.problem(`:include:${path}: ${text.problem}`);
      return;
    }
    const owner = before.owner ?? recipient;
    const unmatched = this.#propagates("include") ? before.unmatched : "";
    const state = { level, from: local, owner, included: true, unmatched };
    const members = text
      .split("\n")
      .filter((line) => !line.startsWith("#"))
      .flatMap((line) => parseList(line));
    this.#members(members, recipient, local, state, "include");
  }

  #forward(recipient: string): void {
    if (!this.#seen(`indirect ${recipient.toLowerCase()}`)) this.#results.forward(recipient, this.#delivered);
  }

  #mailbox(recipient: string, local: string, user: string, extension: string, state: State): void {
    if (this.#seen(`mailbox ${local}`)) return;
    const { settings } = this.#postfix;
    if (this.#mapped("mailbox_transport_maps", user) || settings.text("mailbox_transport") !== "") {
      this.#results.mailbox(recipient);
      return;
    }
    const users = this.#postfix.tables.source(["unix:passwd.byname"])!;
    if (this.#lookup.get(users, user) !== undefined) {
      this.#results.mailbox(recipient);
      return;
    }
    if (this.#mapped("fallback_transport_maps", user) || settings.text("fallback_transport") !== "") {
      this.#results.mailbox(recipient);
      return;
    }
    const relay = expandRelay(settings.text("luser_relay"), { user, local, extension, recipient, settings });
    if (relay === "") return;
    const address = canonical(scan(relay), settings.rewrite);
    if (address.toLowerCase() === recipient.toLowerCase()) return;
    this.#resolve(address, { ...state, unmatched: "" });
  }

  #mapped(maps: Parameter, user: string): boolean {
    const source = this.#postfix.tables.maps(maps).whole;
    return source !== undefined && this.#lookup.get(source, user) !== undefined;
  }

  #propagates(what: "alias" | "include"): boolean {
    return this.#postfix.settings.words("propagate_unmatched_extensions").includes(what);
  }

  #seen(what: string): boolean {
    if (this.#done.has(what)) return true;
    this.#done.add(what);
    return false;
  }
}

const INCLUDE = /^:include:/i;

/** $name, ${name} and $(name) in luser_relay. */
function expandRelay(
  text: string,
  given: {
    readonly user: string;
    readonly local: string;
    readonly extension: string;
    readonly recipient: string;
    readonly settings: Postfix["settings"];
  },
): string {
  const { user, local, extension, recipient, settings } = given;
  const values: Readonly<Record<string, string>> = {
    user,
    local,
    extension: extension.slice(1),
    recipient,
    domain: splitAddress(recipient)[1],
    recipient_delimiter: extension.slice(0, 1) || settings.extension.delimiters.slice(0, 1),
  };
  return text.replace(/\$(?:\{(\w+)\}|\((\w+)\)|(\w+))/g, (_all, a?: string, b?: string, c?: string) => {
    return values[a ?? b ?? c ?? ""] ?? "";
  });
}

/** Why local(8) would not use an :include: file. */
export interface Unusable {
  readonly problem: string;
}

const MAX_INCLUDE_BYTES = 16 * 1024 * 1024;

/** :include: files, kept until they change. */
export class IncludeFiles {
  readonly #files = new Map<string, { readonly stamp: string; readonly text: string }>();

  /** @throws ExpansionError when Postfix may read it and this process may not */
  read(path: string): string | Unusable {
    if (!path.startsWith("/")) return { problem: "it is no absolute path" };
    const found = this.#stat(path);
    if (found === undefined) return { problem: "there is no such file" };
    if (!found.isFile()) return { problem: "it is no regular file" };
    if ((found.mode & 0o002) !== 0) return { problem: "everybody may write to it" };
    if (found.size > MAX_INCLUDE_BYTES) {
      throw new ExpansionError(`:include:${path}: longer than ${MAX_INCLUDE_BYTES} bytes`);
    }
    const { text: stamp, newest } = stampOf([path]);
    const kept = this.#files.get(path);
    if (kept?.stamp === stamp) return kept.text;
    const text = this.#text(path);
    if (isSettled(newest)) this.#files.set(path, { stamp, text });
    return text;
  }

  #stat(path: string): Stats | undefined {
    try {
      return statSync(path, { throwIfNoEntry: false });
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  #text(path: string): string {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw unreadable(path, error);
    }
  }
}

function unreadable(path: string, error: unknown): ExpansionError {
  const { code } = error as NodeJS.ErrnoException;
  return new ExpansionError(
    `:include:${path} cannot be read (${code}); give this service's user the right to`,
  );
}
