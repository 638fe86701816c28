/**
 * The last step at the end of a message: mail from a local user to somebody
 * outside gets what GetSignature returns, else what the store has. A script
 * that fails means no signature, never a refusal; it stands in both logs.
 */
import { StoreUnavailable } from "../directory/store.ts";
import { ScriptError } from "../lua/errors.ts";
import type { Edit } from "../message/edit.ts";
import { decodedSubject } from "../message/header-text.ts";
import {
  insertionSteps,
  planSignature,
  type SignatureFormat,
  type SignaturePlan,
  type SignatureResult,
} from "../message/signature.ts";
import { inTurns } from "../message/steps.ts";
import type { MessageStore } from "../message/store.ts";
import { structureOf } from "../message/structure-of.ts";
import { SIGNATURE_FILE } from "../scripts/callbacks.ts";
import type { LoadedScript } from "../scripts/loader.ts";
import { type SignatureAnswer, type SignatureFacts, SignatureScript } from "../scripts/signature.ts";
import type { SmtpGlobals } from "../scripts/smtpsvr.ts";
import type { Decisions } from "./decide.ts";
import type { Envelope } from "./envelope.ts";
import type { SessionServices } from "./services.ts";
import { storedSignature } from "./stored-signature.ts";

/** Edits of these fields change what a text is: the message that was looked at is no longer the one that is sent. */
const MIME_FIELDS = /^(content-type|content-transfer-encoding|mime-version)$/i;

/** What the MTA keeps beside a message counts against its size limit, too: envelope, trace, line records. */
const ROOM_BYTES = 4096;
const ROOM_BYTES_A_RECIPIENT = 512;
const ROOM_SHARE = 0.01;

/** Whether the message is from somebody whose mail is signed. Reports, which have no sender, never are. */
export function signs(
  services: SessionServices,
  globals: Readonly<SmtpGlobals>,
  envelope: Envelope,
): boolean {
  if (scriptOf(services) === undefined && !services.uses.signatures) return false;
  if (envelope.sender.address === "") return false;
  return globals.AuthUser !== "" || globals.LocalClientAddress;
}

/** A message at the end of its way through the session. */
export interface Leaving {
  readonly services: SessionServices;
  readonly context: { readonly globals: Readonly<SmtpGlobals> };
  readonly envelope: Envelope;
  readonly store: MessageStore;
  /** What the steps before have decided. */
  readonly edits: readonly Edit[];
  readonly decisions: Decisions;
}

/**
 * @returns what has to be done after the edits of the steps before
 * @throws StoreUnavailable when a signature from the store is wanted
 */
export async function signMessage(message: Leaving): Promise<readonly Edit[]> {
  const { services, envelope, edits, context } = message;
  const loaded = scriptOf(services);
  if (!envelope.leaves(edits, services.ownDomains)) return [];
  try {
    return await sign(message, loaded);
  } catch (error) {
    if (error instanceof StoreUnavailable) throw error;
    // A bug of ours, and the same at every try: better unsigned than never sent.
    const { stack, message: problem } = error as Error;
    const { SessionID: session, QueueID: queue } = context.globals;
    services.log.error("signature", { session, queue, problem: stack ?? problem });
    return [];
  }
}

async function sign(message: Leaving, loaded: LoadedScript | undefined): Promise<readonly Edit[]> {
  const { services, context, envelope, store, edits, decisions } = message;
  const since = performance.now();
  const conclude = (result: string, detail: string) =>
    decisions.record("", "signature", result, since, detail);
  const changed = edits.find((edit) => "name" in edit && MIME_FIELDS.test(edit.name));
  if (changed !== undefined && "name" in changed) {
    conclude("none", `ProcessMessage has changed ${changed.name}`);
    return [];
  }
  const plan = planSignature(store, await structureOf(store));
  if (plan.formats.length === 0) {
    conclude("none", reasons(plan));
    return [];
  }
  const facts = {
    authUser: context.globals.AuthUser,
    sender: envelope.sender.address,
    subject: decodedSubject(store.headers),
  };
  const answers = loaded === undefined ? new Map() : await ask(message, loaded, plan, facts);
  const texts = { PLAIN: "", HTML: "" };
  for (const format of plan.formats) {
    const said: SignatureAnswer = answers.get(format) ?? { kind: "default" };
    const answer = said.kind === "default" ? await stored(message, format, facts) : said;
    if (answer.kind === "text") texts[format] = answer.text;
  }
  if (texts.PLAIN === "" && texts.HTML === "") return [];
  const room = ROOM_BYTES + ROOM_BYTES_A_RECIPIENT * envelope.recipients.length + store.size * ROOM_SHARE;
  const limit = services.maxMessageSize;
  const result = await inTurns(
    insertionSteps(store, plan, texts, {
      position: services.signature.position,
      maxBytes: limit === 0 ? 0 : Math.max(1, limit - room),
    }),
  );
  const into = result.changed.map(({ path, how }) => (how === "" ? path : `${path} (now ${how})`));
  conclude(into.length === 0 ? "none" : `put into ${into.join(", ")}`, reasons(result));
  return result.edits;
}

function scriptOf(services: SessionServices): LoadedScript | undefined {
  const state = services.script(SIGNATURE_FILE);
  return state.kind === "loaded" && state.loaded.callbacks.has("GetSignature") ? state.loaded : undefined;
}

async function stored(
  { services, decisions }: Leaving,
  format: SignatureFormat,
  facts: SignatureFacts,
): Promise<SignatureAnswer> {
  const { directory, uses } = services;
  if (directory === undefined || !uses.signatures) return { kind: "default" };
  const since = performance.now();
  const answer = await storedSignature(directory, format, facts);
  if (answer.kind !== "default") {
    decisions.record("", "stored signature", `${format}: ${answerText(answer)}`, since);
  }
  return answer;
}

/**
 * Calls GetSignature once for each format, in a fresh environment. Where the top level fails there is nothing to call;
 * formats for which the script fails get none.
 */
async function ask(
  { services, context, decisions }: Leaving,
  loaded: LoadedScript,
  plan: SignaturePlan,
  facts: SignatureFacts,
): Promise<ReadonlyMap<SignatureFormat, SignatureAnswer>> {
  const none = { kind: "blank" } as const;
  const answers = new Map<SignatureFormat, SignatureAnswer>(plan.formats.map((format) => [format, none]));
  const { engine, budgets, trace } = services;
  const script = new SignatureScript(engine, loaded, { globals: context.globals }, budgets, trace);
  try {
    for (const [n, format] of plan.formats.entries()) {
      const since = performance.now();
      let result: string;
      try {
        if (n === 0) await script.load();
        const answer = await script.signature(format, facts);
        answers.set(format, answer);
        result = answerText(answer);
      } catch (error) {
        if (!(error instanceof ScriptError)) throw error;
        decisions.failed(error);
        decisions.record(script.name, "GetSignature", `${format}: failed, no signature`, since);
        if (error.details.callback === "") break;
        continue;
      }
      decisions.record(script.name, "GetSignature", `${format}: ${result}`, since);
    }
  } finally {
    script.close();
  }
  return answers;
}

function answerText(answer: SignatureAnswer): string {
  if (answer.kind === "text") return `${answer.text.length} bytes`;
  return answer.kind === "blank" ? "<blank>" : "none";
}

function reasons({ left }: Pick<SignatureResult, "left">): string {
  return left.map(({ path, why }) => (path === "" ? why : `${path}: ${why}`)).join("; ");
}
