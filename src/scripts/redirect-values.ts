/**
 * What USER_REDIRECT.LUA may change: the routing of one message for one user,
 * as the manual's global variables hold it (manual, "Message Routing"). They
 * come from the user's settings, go through the scripts, and come back.
 *
 * Strings are byte strings; settings are ordinary text. Values of a wrong type
 * that a script leaves are its error; settings that say nothing sensible are
 * told in a sentence and count as not set.
 */
import { encodeText } from "../bytes.ts";
import { LuaHeaderMap, type LuaInput, LuaTable, type LuaValue, typeName } from "../lua/values.ts";
import { type Origin, wrongValue } from "./results.ts";

/** BigRedirect or SmallRedirect. */
export interface Redirect {
  readonly target: string;
  /** kB of 1024 bytes. */
  readonly threshold: number;
  /** The user keeps a copy. */
  readonly copy: boolean;
  /** It holds for messages larger than the threshold, else for smaller ones. */
  readonly bigger: boolean;
}

export interface RoutingValues {
  readonly shouldForward: boolean;
  readonly assistants: string;
  readonly redirectToAssistant: boolean;
  readonly sendToNormalRecipient: boolean;
  readonly forwards: string;
  readonly useForwards: boolean;
  readonly bigRedirect: Redirect;
  readonly smallRedirect: Redirect;
}

/** The user settings that the values come from; compared without regard to case. */
export const ROUTING_SETTINGS: readonly string[] = [
  "ShouldForward",
  "Assistants",
  "RedirectToAssistant",
  "SendToNormalRecipient",
  "Forwards",
  "UseForwards",
  ...["BigRedirect", "SmallRedirect"].flatMap((name) =>
    ["Target", "Threshold", "Copy", "Bigger"].map((field) => `${name}.${field}`),
  ),
];

/** Settings of users, and of all users where a user has none: when a message is spam, and whether spam is forwarded. */
export const SPAM_SETTINGS = { threshold: "SpamThreshold", forward: "ForwardSpam" } as const;

/** Settings by name in lower case. */
export type Settings = ReadonlyMap<string, string>;

export interface EnteringValues {
  readonly values: RoutingValues;
  /** Settings that were passed over, a sentence each. */
  readonly problems: readonly string[];
}

/** The values on entry. `spamScore` undefined: nobody has given the message one. */
export function enteringValues(
  user: Settings,
  everybody: Settings,
  spamScore: number | undefined,
): EnteringValues {
  const problems: string[] = [];
  const read = (name: string) => user.get(name.toLowerCase())?.trim() ?? "";
  const flag = (name: string, fallback: boolean) => readFlag(name, read(name), fallback, problems);
  const text = (name: string) => encodeText(read(name));
  const redirect = (name: string, bigger: boolean): Redirect => ({
    target: text(`${name}.Target`),
    threshold: readNumber(`${name}.Threshold`, read(`${name}.Threshold`), problems) ?? 0,
    copy: flag(`${name}.Copy`, false),
    bigger: flag(`${name}.Bigger`, bigger),
  });
  const common = (name: string) => read(name) || (everybody.get(name.toLowerCase())?.trim() ?? "");
  const threshold = readNumber(SPAM_SETTINGS.threshold, common(SPAM_SETTINGS.threshold), problems);
  const spam = spamScore !== undefined && threshold !== undefined && spamScore >= threshold;
  const spamToo = readFlag(SPAM_SETTINGS.forward, common(SPAM_SETTINGS.forward), false, problems);
  const forwards = text("Forwards");
  const values = {
    shouldForward: flag("ShouldForward", true) && (!spam || spamToo),
    assistants: text("Assistants"),
    redirectToAssistant: flag("RedirectToAssistant", false),
    sendToNormalRecipient: flag("SendToNormalRecipient", true),
    forwards,
    useForwards: flag("UseForwards", forwards !== ""),
    bigRedirect: redirect("BigRedirect", true),
    smallRedirect: redirect("SmallRedirect", false),
  };
  return { values, problems };
}

function readFlag(name: string, text: string, fallback: boolean, problems: string[]): boolean {
  if (text === "") return fallback;
  if (/^(true|yes|on|1)$/i.test(text)) return true;
  if (/^(false|no|off|0)$/i.test(text)) return false;
  problems.push(`setting ${name} is "${text}", neither true nor false; taken as ${fallback}`);
  return fallback;
}

function readNumber(name: string, text: string, problems: string[]): number | undefined {
  if (text === "") return undefined;
  const number = Number(text);
  if (Number.isFinite(number)) return number;
  problems.push(`setting ${name} is "${text}", no number; taken as not set`);
  return undefined;
}

/** The global variables that hold the values. */
export function globalsOf(values: RoutingValues): Readonly<Record<string, LuaInput>> {
  return {
    ShouldForward: values.shouldForward,
    Assistants: values.assistants,
    RedirectToAssistant: values.redirectToAssistant,
    SendToNormalRecipient: values.sendToNormalRecipient,
    Forwards: values.forwards,
    UseForwards: values.useForwards,
    BigRedirect: redirectTable(values.bigRedirect),
    SmallRedirect: redirectTable(values.smallRedirect),
  };
}

function redirectTable({ target, threshold, copy, bigger }: Redirect): LuaInput {
  return { Target: target, Threshold: threshold, Copy: copy, Bigger: bigger };
}

/** Reads the values back. nil is false, "" or no redirect. @throws ScriptError naming the variable */
export function valuesOf(get: (name: string) => LuaValue, origin: Origin): RoutingValues {
  const flag = (name: string) => flagIn(get(name), name, origin);
  const text = (name: string) => textIn(get(name), name, origin);
  return {
    shouldForward: flag("ShouldForward"),
    assistants: text("Assistants"),
    redirectToAssistant: flag("RedirectToAssistant"),
    sendToNormalRecipient: flag("SendToNormalRecipient"),
    forwards: text("Forwards"),
    useForwards: flag("UseForwards"),
    bigRedirect: redirectIn(get("BigRedirect"), "BigRedirect", true, origin),
    smallRedirect: redirectIn(get("SmallRedirect"), "SmallRedirect", false, origin),
  };
}

function redirectIn(value: LuaValue, name: string, bigger: boolean, origin: Origin): Redirect {
  if (value === undefined || value === false) return { target: "", threshold: 0, copy: false, bigger };
  if (!(value instanceof LuaTable)) throw left(value, name, "a table", origin);
  const threshold = value.get("Threshold") ?? 0;
  const number = typeof threshold === "string" && threshold.trim() !== "" ? Number(threshold) : threshold;
  if (typeof number !== "number" || Number.isNaN(number)) {
    throw left(threshold, `${name}.Threshold`, "a number", origin);
  }
  const direction = value.get("Bigger");
  return {
    target: textIn(value.get("Target"), `${name}.Target`, origin),
    threshold: number,
    copy: flagIn(value.get("Copy"), `${name}.Copy`, origin),
    bigger: direction === undefined ? bigger : flagIn(direction, `${name}.Bigger`, origin),
  };
}

function flagIn(value: LuaValue, name: string, origin: Origin): boolean {
  if (value === undefined) return false;
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return true;
  throw left(value, name, "true or false", origin);
}

function textIn(value: LuaValue, name: string, origin: Origin): string {
  if (value === undefined || value === false) return "";
  if (typeof value === "string") return value;
  throw left(value, name, "a string", origin);
}

function left(value: LuaValue, name: string, belongs: string, origin: Origin) {
  const what = typeof value === "string" ? `"${value}"` : `a ${typeName(value)}`;
  return wrongValue(origin, `left ${what} in ${name}, where ${belongs} belongs`);
}

/** What a script may look at; byte strings. */
export interface RoutingFacts {
  /** The user's id. */
  readonly user: string;
  /** Bytes. */
  readonly messageSize: number;
  /** undefined: nobody has given the message one. */
  readonly spamScore: number | undefined;
  readonly sender: string;
  /** Unfolded and decoded. */
  readonly subject: string;
  /** The user's settings, and the defaults of those that scripts have declared. */
  readonly userSettings: ReadonlyMap<string, string>;
  readonly headers: RoutingHeaders;
}

/** The message's header as scripts see it, made once for all users. */
export interface RoutingHeaders {
  readonly byName: LuaHeaderMap;
  readonly lines: readonly string[];
}

/** Variables that a script should only read. */
export const FACT_GLOBALS: ReadonlySet<string> = new Set([
  "MessageSize",
  "SpamScore",
  "SpamScoreValid",
  "Sender",
  "User",
  "Subject",
  "UserSettings",
  "Headers1",
  "Headers2",
]);

/** They, with their values. */
export function factGlobals(facts: RoutingFacts): Readonly<Record<string, LuaInput>> {
  return {
    MessageSize: facts.messageSize,
    SpamScore: facts.spamScore ?? 0,
    SpamScoreValid: facts.spamScore !== undefined,
    Sender: facts.sender,
    User: facts.user,
    Subject: facts.subject,
    UserSettings: new LuaHeaderMap(facts.userSettings),
    Headers1: facts.headers.byName,
    Headers2: facts.headers.lines,
  };
}
