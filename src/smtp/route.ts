/**
 * The step between ProcessMessage and signatures: for each local user whom the
 * message would reach, once, the user's settings and USER_REDIRECT.LUA decide
 * who gets it (manual, "Message Routing"). Users to whom it is passed on are
 * asked in their turn.
 *
 * A store that cannot answer makes the message wait (451). A script that fails
 * becomes the script_error verdict; where that is to accept, the user gets the
 * message as if there were no routing. A recipient that cannot be expanded is
 * left to the MTA.
 */
import { encodeText } from "../bytes.ts";
import type { Directory } from "../directory/directory.ts";
import { StoreUnavailable } from "../directory/store.ts";
import { ScriptError } from "../lua/errors.ts";
import { decodedSubject } from "../message/header-text.ts";
import { spamScore } from "../message/spam-score.ts";
import { USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { isDefaultRedirect, USED_BY_DEFAULT } from "../scripts/default-redirect.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import {
  enteringValues,
  ROUTING_SETTINGS,
  type RoutingHeaders,
  type RoutingValues,
  type Settings,
  SPAM_SETTINGS,
} from "../scripts/redirect-values.ts";
import { routeUser, routingHeaders } from "../scripts/user-redirect.ts";
import { verdictText } from "./decide.ts";
import { reply } from "./reply.ts";
import { Addresses } from "./route-addresses.ts";
import { decideRouting, mentioned, type RoutingDecision } from "./route-decide.ts";
import { currentRecipients, recipientEdits } from "./route-edits.ts";
import { breakCircles, planRecipients, type Recipient, type UserRoute } from "./route-plan.ts";
import type { Leaving } from "./sign.ts";
import { CONTINUE, DISCARD, type MessageResult, refuse, type Verdict } from "./verdict.ts";

export const STORE_DOWN = refuse(reply(451, "4.3.0", "Temporary lookup failure, try again later"));

/** Settings of ours whose declared defaults count; those of scripts are the scripts' business. */
const ROUTES: ReadonlySet<string> = new Set(
  [...ROUTING_SETTINGS, ...Object.values(SPAM_SETTINGS)].map((name) => name.toLowerCase()),
);

/** So many users' scripts run beside one another: they may wait for the network. */
const AT_ONCE = 8;

export interface Routable extends Leaving {
  /** Bytes, also when the store kept only a part. */
  readonly size: number;
}

/** @returns the edits of the steps before and its own, as one list */
export async function routeMessage(message: Routable): Promise<MessageResult> {
  const { services, edits, decisions } = message;
  const { directory } = services;
  if (directory === undefined) return { verdict: CONTINUE, edits };
  const since = performance.now();
  try {
    return await new Routing(message, directory).run();
  } catch (error) {
    const stopped = error instanceof Stopped;
    if (!stopped && !(error instanceof StoreUnavailable)) throw error;
    const verdict = stopped ? error.verdict : STORE_DOWN;
    decisions.record("", "routing", verdictText(verdict), since, stopped ? "" : error.message);
    return { verdict, edits: [] };
  }
}

/** A script's failure decides about the whole message. */
class Stopped extends Error {
  readonly verdict: Verdict;
  constructor(verdict: Verdict) {
    super("stopped");
    this.verdict = verdict;
  }
}

/** A user's settings as they are spelled, and by name in lower case. */
interface UserSettings {
  readonly spelled: ReadonlyMap<string, string>;
  readonly byName: Settings;
}

interface Asked {
  readonly values: RoutingValues;
  /** The script that was run, "" for none. */
  readonly script: string;
  readonly said: string;
  readonly since: number;
}

class Routing {
  readonly #message: Routable;
  readonly #directory: Directory;
  readonly #addresses: Addresses;
  readonly #routes = new Map<string, UserRoute>();
  readonly #score: number | undefined;
  #everybody: Settings = new Map();
  #headers: RoutingHeaders | undefined;
  #defaults: Promise<readonly (readonly [string, string])[]> | undefined;

  constructor(message: Routable, directory: Directory) {
    this.#message = message;
    this.#directory = directory;
    const { store, envelope, services } = message;
    this.#score = spamScore(store.headers, services.routing.spamHeaders);
    this.#addresses = new Addresses(directory, envelope.sender.address, (address, problem) =>
      message.decisions.warn(USER_REDIRECT_FILE, "routing", `<${address}> is left to Postfix: ${problem}`),
    );
  }

  async run(): Promise<MessageResult> {
    const { envelope, edits, decisions } = this.#message;
    const unchanged = { verdict: CONTINUE, edits };
    const current = currentRecipients(envelope, edits);
    const found = await this.#usersOf(current);
    if (found.size === 0) return unchanged;
    await this.#readCommonSettings();
    for (let level = found; level.size > 0; ) level = await this.#level(level);
    const expand = this.#addresses.expand;
    for (const user of await breakCircles(this.#routes, expand)) {
      this.#warn(`the forwarding of ${user} leads back and reaches nobody; the user keeps the message`);
    }
    if ([...this.#routes.values()].every(({ keep, targets }) => keep && targets.length === 0))
      return unchanged;
    const plan = await planRecipients(current, this.#routes, expand);
    for (const warning of plan.warnings) this.#warn(warning);
    const left = current.length - plan.removed.length + plan.added.length;
    if (left === 0) {
      decisions.record("", "routing", "discard", performance.now(), "no recipient is left");
      return { verdict: DISCARD, edits: [] };
    }
    return { verdict: CONTINUE, edits: recipientEdits(envelope, edits, current, plan) };
  }

  /** The local users behind recipients, each with the parameters of the first that leads there. */
  async #usersOf(recipients: readonly Recipient[]): Promise<Map<string, string>> {
    const expanded = await Promise.all(recipients.map(({ address }) => this.#addresses.expand(address)));
    const users = new Map<string, string>();
    for (const [n, leaves = []] of expanded.entries()) {
      for (const { user } of leaves) {
        if (user === undefined || users.has(user) || this.#routes.has(user)) continue;
        users.set(user, recipients[n]?.parameters ?? "");
      }
    }
    return users;
  }

  /** Asks for these users. @returns those to whom they pass the message on, and who have not been asked yet */
  async #level(users: ReadonlyMap<string, string>): Promise<Map<string, string>> {
    const all = [...users.keys()];
    const settings = await Promise.all(all.map((user) => this.#settings(user)));
    const passedTo: Recipient[] = [];
    for (let from = 0; from < all.length; from += AT_ONCE) {
      const part = all.slice(from, from + AT_ONCE);
      const asked = await Promise.allSettled(part.map((user, n) => this.#ask(user, settings[from + n]!)));
      for (const [n, user] of part.entries()) {
        const outcome = asked[n]!;
        if (outcome.status === "rejected") throw outcome.reason;
        const parameters = users.get(user) ?? "";
        const decision = await this.#decide(user, outcome.value);
        const targets = decision.targets.map((target) => this.#addresses.resolved(target));
        this.#routes.set(user, { keep: decision.keep, targets, parameters });
        for (const address of targets) passedTo.push({ address, parameters });
      }
    }
    return this.#usersOf(passedTo);
  }

  /** @returns undefined when there is nothing to ask: neither settings nor a script of consequence */
  async #ask(user: string, { spelled, byName: settings }: UserSettings): Promise<Asked | undefined> {
    const { decisions } = this.#message;
    const since = performance.now();
    const script = await this.#scriptFor(user, settings);
    if (script === undefined && !ROUTING_SETTINGS.some((name) => settings.has(name.toLowerCase()))) {
      return undefined;
    }
    const { values, problems } = enteringValues(settings, this.#everybody, this.#score);
    for (const problem of problems) this.#warn(`user ${user}: ${problem}`);
    if (script === undefined) return { values, script: "", said: "", since };
    try {
      return { ...(await this.#run(script, user, spelled, values)), script: script.script.name, since };
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      const verdict = decisions.failed(error);
      const { script: name, callback } = error.details;
      decisions.record(
        name,
        callback || "(top level)",
        `${encodeText(user)}: ${verdictText(verdict)}`,
        since,
      );
      if (verdict.kind !== "continue") throw new Stopped(verdict);
      return undefined;
    }
  }

  async #run(loaded: LoadedScript, user: string, settings: UserSettings["spelled"], values: RoutingValues) {
    const { services, context, envelope, store, size, decisions } = this.#message;
    this.#headers ??= routingHeaders(store.headers);
    const given = new Map<string, readonly [name: string, value: string]>();
    for (const [name, value] of [...(await this.#declared()), ...settings]) {
      given.set(name.toLowerCase(), [encodeText(name), encodeText(value)]);
    }
    const facts = {
      user: encodeText(user),
      messageSize: size,
      spamScore: this.#score,
      sender: envelope.sender.address,
      subject: decodedSubject(store.headers),
      userSettings: new Map(given.values()),
      headers: this.#headers,
    };
    const { engine, budgets, trace } = services;
    const options = { engine, budgets, trace, context: { message: undefined, globals: context.globals } };
    const answer = await routeUser(loaded, () => this.#own(user), values, facts, options);
    if (answer.failed !== undefined) decisions.failed(answer.failed);
    return answer;
  }

  /** The script for all users, unless it is the shipped one and has nothing to do for this user. */
  async #scriptFor(user: string, settings: Settings): Promise<LoadedScript | undefined> {
    const { services, decisions } = this.#message;
    const state = services.script(USER_REDIRECT_FILE);
    if (state.kind === "absent") return undefined;
    if (state.kind === "broken") throw new Stopped(decisions.failed(state.error));
    const { loaded } = state;
    if (!isDefaultRedirect(loaded) || USED_BY_DEFAULT.some((name) => settings.has(name))) return loaded;
    const own = await services.userScript?.(user);
    return own === undefined || own.kind === "absent" ? undefined : loaded;
  }

  async #own(user: string): Promise<LoadedScript | undefined> {
    const state = await this.#message.services.userScript?.(user);
    if (state?.kind === "broken") throw state.error;
    return state?.kind === "loaded" ? state.loaded : undefined;
  }

  async #decide(user: string, asked: Asked | undefined): Promise<RoutingDecision> {
    if (asked === undefined) return { keep: true, targets: [], notes: [] };
    const { size, decisions } = this.#message;
    const { values, script, said, since } = asked;
    await Promise.all(mentioned(values).map((target) => this.#addresses.learn(target)));
    const decision = decideRouting(values, size, (target) => this.#addresses.kind(target));
    const result = `${encodeText(user)}: ${routingText(decision)}`;
    const detail = [...decision.notes, said].filter((text) => text !== "").join("; ");
    decisions.record(script, script === "" ? "routing" : "MainDoRouting", result, since, detail);
    return decision;
  }

  async #settings(user: string): Promise<UserSettings> {
    const spelled = await this.#directory.store.userSettings(user);
    const defaults = (await this.#declared()).filter(
      ([name, value]) => value !== "" && ROUTES.has(name.toLowerCase()),
    );
    return { spelled, byName: lowerCase(new Map([...defaults, ...spelled])) };
  }

  /** Which of them are for everybody only matters where somebody has given a score. */
  async #readCommonSettings(): Promise<void> {
    if (this.#score === undefined) return;
    const common = new Map<string, string>();
    for (const name of Object.values(SPAM_SETTINGS)) {
      const value = await this.#directory.store.setting(name);
      if (value !== undefined) common.set(name, value);
    }
    this.#everybody = lowerCase(common);
  }

  /** Defaults of the settings that scripts have declared. */
  #declared(): Promise<readonly (readonly [string, string])[]> {
    this.#defaults ??= this.#directory.store
      .definitions()
      .then((all) => all.map(({ name, fallback }) => [name, fallback] as const));
    return this.#defaults;
  }

  #warn(problem: string): void {
    this.#message.decisions.warn(USER_REDIRECT_FILE, "routing", problem);
  }
}

function lowerCase(settings: ReadonlyMap<string, string>): Settings {
  return new Map([...settings].map(([name, value]) => [name.toLowerCase(), value]));
}

function routingText({ keep, targets }: RoutingDecision): string {
  if (targets.length === 0) return keep ? "as it was" : "dropped";
  return `${keep ? "kept, and sent" : "sent"} to ${targets.join(", ")}`;
}
