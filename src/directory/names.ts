/**
 * What the store takes as names, addresses, mailboxes and texts, and how it
 * compares them. One place for SQLite and PostgreSQL, so that both refuse the
 * same things with the same words. Every function throws DirectoryError.
 *
 * What it lets through can be put into Postfix's tables as it is: nothing
 * here needs quotes in an address, and no mailbox leaves the mail directory.
 */
import { DirectoryError, type NewUser } from "./store.ts";

const MAX_NAME = 255;
const MAX_ADDRESS = 320;
const MAX_MAILBOX = 1_000;
const MAX_TEXT_BYTES = 1 << 20;

/** Whitespace and control characters end words in map files and logs; the rest needs quotes in an address. */
const UNFIT_FOR_NAMES = /[\s\p{Cc}"'(),:;<>[\\\]/]/u;
const UNFIT_FOR_LOCAL_PARTS = /[\s\p{Cc}"(),:;<>@[\\\]]/u;
const DOMAIN = /^[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}_.-]*[\p{L}\p{M}\p{N}])?$/u;

/** The form in which names are compared: ASCII letters in lower case; "" for what can be nobody's name. */
export function nameKey(name: string): string {
  if (!canBeKept(name)) return "";
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** The same for addresses, which are kept in lower case. */
export function addressKey(address: string): string {
  return canBeKept(address) ? address.toLowerCase() : "";
}

/** PostgreSQL would fail already at being asked for anything else. */
function canBeKept(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

/** A user's or list's name. @returns it as it is */
export function checkName(name: string, what: "user" | "list"): string {
  checkWords(name, `the name of a ${what}`, MAX_NAME);
  const wrong = UNFIT_FOR_NAMES.exec(name)?.[0];
  if (wrong !== undefined) {
    throw new DirectoryError(`the name of a ${what} must not have ${shown(wrong)} in it: ${quoted(name)}`);
  }
  if (name.startsWith("-") || name === "." || name === "..") {
    throw new DirectoryError(`${quoted(name)} cannot be the name of a ${what}`);
  }
  return name;
}

/** The name of a setting: any words, such as "Spam threshold". */
export function checkSettingName(name: string): string {
  checkWords(name, "the name of a setting", MAX_NAME);
  if (/\p{Cc}/u.test(name)) {
    throw new DirectoryError(`the name of a setting must not have control characters in it: ${quoted(name)}`);
  }
  return name;
}

/** Any text that both databases can keep. `what` is for the message: "the value of Forwards". */
export function checkText(text: string, what: string): string {
  if (text.includes("\0")) throw new DirectoryError(`${what} must not have a NUL character in it`);
  if (!text.isWellFormed()) throw new DirectoryError(`${what} is no valid Unicode text`);
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_TEXT_BYTES) {
    throw new DirectoryError(`${what} is ${bytes} bytes long; a text may have ${MAX_TEXT_BYTES}`);
  }
  return text;
}

/** A full address. @returns it in lower case, as Postfix asks for it */
export function checkAddress(address: string): string {
  checkWords(address, "an address", MAX_ADDRESS);
  const at = address.lastIndexOf("@");
  const [local, domain] = [address.slice(0, at), address.slice(at + 1)];
  if (at < 1 || domain === "") {
    throw new DirectoryError(`${quoted(address)} is no full address such as joe@example.com`);
  }
  const wrong = UNFIT_FOR_LOCAL_PARTS.exec(local)?.[0];
  if (wrong !== undefined) {
    throw new DirectoryError(`an address must not have ${shown(wrong)} before its @: ${quoted(address)}`);
  }
  if (local.startsWith("-")) {
    throw new DirectoryError(`an address must not begin with "-", which Postfix refuses: ${quoted(address)}`);
  }
  if (!DOMAIN.test(domain) || domain.includes("..")) {
    throw new DirectoryError(`${quoted(domain)} is no domain, in the address ${quoted(address)}`);
  }
  return address.toLowerCase();
}

/** An address of our own users and lists: it may become part of a path. */
export function checkOwnAddress(address: string): string {
  const checked = checkAddress(address);
  const local = checked.slice(0, checked.lastIndexOf("@"));
  if (local.includes("/") || local === "." || local === "..") {
    throw new DirectoryError(`an address of a user or list must be fit for a path: ${quoted(address)}`);
  }
  return checked;
}

/** Each of them a full address, none twice. */
export function checkOwnAddresses(addresses: readonly string[]): string[] {
  const checked = addresses.map(checkOwnAddress);
  const twice = checked.find((address, n) => checked.indexOf(address) !== n);
  if (twice !== undefined) throw new DirectoryError(`the address ${twice} is given twice`);
  return checked;
}

/** A path below the mail directory. */
export function checkMailbox(mailbox: string): string {
  checkWords(mailbox, "a mailbox", MAX_MAILBOX);
  const steps = mailbox.split("/");
  if (/\p{Cc}/u.test(mailbox) || mailbox.startsWith("/") || steps.includes("..") || steps.includes(".")) {
    throw new DirectoryError(
      `a mailbox is a path below the mail directory, such as example.com/joe/, not ${quoted(mailbox)}`,
    );
  }
  return mailbox;
}

/** Where a user's mail lies unless told otherwise. */
export function defaultMailbox({ name, addresses }: Pick<NewUser, "name" | "addresses">): string {
  const [first] = addresses;
  if (first === undefined) return `${name}/`;
  const at = first.lastIndexOf("@");
  return `${first.slice(at + 1)}/${first.slice(0, at)}/`;
}

/** A hash with its scheme in front. The hash itself is never part of a message. */
export function checkPasswordHash(hash: string): string {
  checkWords(hash, "a password hash", MAX_NAME * 4);
  if (!/^\{[A-Za-z0-9.-]+\}[^\s\p{Cc}]+$/u.test(hash)) {
    throw new DirectoryError("a password hash must begin with its scheme, such as {BLF-CRYPT}$2y$...");
  }
  return hash;
}

function checkWords(text: string, what: string, max: number): void {
  if (typeof text !== "string" || text === "") throw new DirectoryError(`${what} must not be empty`);
  if (text.length > max) {
    throw new DirectoryError(`${what} has at most ${max} characters, not ${text.length}`);
  }
  checkText(text, what);
  if (text.trim() !== text) {
    throw new DirectoryError(`${what} must not begin or end with a space: ${quoted(text)}`);
  }
}

function shown(character: string): string {
  return character === " " ? "a space" : JSON.stringify(character);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
