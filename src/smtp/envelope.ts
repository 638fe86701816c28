/**
 * The envelope of one message: sender, recipients, their ESMTP parameters,
 * and the edits that bring changed parameters to the MTA.
 */

import type { Edit } from "../message/edit.ts";
import type { Parameters } from "../scripts/smtpsvr.ts";
import { domainOf, type OwnDomains } from "./outside.ts";

export interface EnvelopeAddress {
  /** As it stood after MAIL FROM: or RCPT TO:, parameters included. */
  readonly data: string;
  /** Without <>. */
  readonly address: string;
  readonly parameters: Parameters;
  /** What the script made of the parameters, when it changed them. */
  changed: Parameters | undefined;
  /** For a recipient: whether the MTA passes its mail on to another host; undefined when nobody told. */
  readonly relayed: boolean | undefined;
}

export class Envelope {
  readonly sender: EnvelopeAddress;
  readonly recipients: EnvelopeAddress[] = [];
  /** From DoDATAStart, for the top of the header. */
  headerLines: readonly string[] = [];

  constructor(sender: EnvelopeAddress) {
    this.sender = sender;
  }

  /** Replaces the last recipient by `known`, which knows its parameters; what the script made of none stands for nothing. */
  confirmLast(known: EnvelopeAddress): void {
    const last = this.recipients.pop();
    const changed = last?.changed;
    this.recipients.push({
      ...known,
      changed: changed === undefined || changed.size === 0 ? undefined : changed,
    });
  }

  /** The same with this recipient alone; undefined when it is not among the recipients. */
  only(address: string): Envelope | undefined {
    const recipient = this.recipients.find((one) => one.address === address);
    if (recipient === undefined) return undefined;
    const envelope = new Envelope(this.sender);
    envelope.recipients.push(recipient);
    return envelope;
  }

  addresses(): string[] {
    return this.recipients.map((recipient) => recipient.address);
  }

  /**
   * Whether somebody outside gets the message when `edits` are carried out. Where the MTA did not say, a recipient
   * is outside unless it has no domain, one of `ownDomains`, or that of a recipient which the MTA called its own.
   */
  leaves(edits: readonly Edit[], ownDomains: Pick<OwnDomains, "has">): boolean {
    const told = new Map<string, boolean>();
    const own = new Set<string>();
    for (const { address, relayed } of this.recipients) {
      if (relayed !== undefined) told.set(address, relayed);
      if (relayed === false) own.add(domainOf(address));
    }
    const recipients = new Set(this.addresses());
    for (const edit of edits) {
      if (edit.kind === "deleteRecipient") recipients.delete(edit.address);
      else if (edit.kind === "addRecipient") recipients.add(edit.address);
    }
    return [...recipients].some((address) => {
      const domain = domainOf(address);
      return told.get(address) ?? !(own.has(domain) || ownDomains.has(domain));
    });
  }
}

/**
 * An address as MAIL or RCPT carries it: `args[0]` is "<a@b>" or "a@b", the
 * rest are ESMTP parameters, KEY or KEY=value (RFC 5321 section 4.1.1.11).
 */
export function envelopeAddress(args: readonly string[], relayed?: boolean): EnvelopeAddress {
  const [raw = ""] = args;
  const bare = /^<(.*)>$/s.exec(raw);
  const parameters = new Map<string, string>();
  for (const arg of args.slice(1)) {
    const at = arg.indexOf("=");
    if (at < 0) parameters.set(arg.toUpperCase(), "");
    else parameters.set(arg.slice(0, at).toUpperCase(), arg.slice(at + 1));
  }
  return {
    data: args.join(" "),
    address: bare === null ? raw : (bare[1] ?? ""),
    parameters,
    changed: undefined,
    relayed,
  };
}

/** What Postfix takes from a milter with a changed sender or recipient (cleanup's chgfrom and addrcpt_par). */
const SENDER_PARAMETERS: readonly string[] = ["RET", "ENVID"];
const RECIPIENT_PARAMETERS: readonly string[] = ["NOTIFY", "ORCPT"];

export interface ParameterEdits {
  readonly edits: Edit[];
  /** Changed parameters that no MTA takes from us, as "MAIL SIZE". */
  readonly unserved: string[];
}

/** The edits for changed parameters of the sender and of the recipients that stay. */
export function parameterEdits(envelope: Envelope, kept: (address: string) => boolean): ParameterEdits {
  const edits: Edit[] = [];
  const unserved: string[] = [];
  const served = (who: EnvelopeAddress, verb: string, names: readonly string[]): string | undefined => {
    const changed = changedNames(who);
    unserved.push(...changed.filter((name) => !names.includes(name)).map((name) => `${verb} ${name}`));
    if (!changed.some((name) => names.includes(name))) return undefined;
    return names
      .filter((name) => (who.changed?.get(name) ?? "") !== "")
      .map((name) => `${name}=${who.changed?.get(name)}`)
      .filter((parameter) => /^[!-~]+$/.test(parameter))
      .join(" ");
  };
  const sender = served(envelope.sender, "MAIL", SENDER_PARAMETERS);
  if (sender !== undefined) {
    edits.push({ kind: "changeSender", address: envelope.sender.address, parameters: sender });
  }
  for (const recipient of envelope.recipients) {
    const parameters = served(recipient, "RCPT", RECIPIENT_PARAMETERS);
    if (parameters === undefined || !kept(recipient.address)) continue;
    edits.push({ kind: "deleteRecipient", address: recipient.address });
    edits.push({ kind: "addRecipient", address: recipient.address, parameters });
  }
  return { edits, unserved };
}

function changedNames(who: EnvelopeAddress): string[] {
  const { parameters, changed } = who;
  if (changed === undefined) return [];
  const names = new Set([...parameters.keys(), ...changed.keys()]);
  return [...names].filter((name) => parameters.get(name) !== changed.get(name));
}
