/**
 * What has to change in main.cf and master.cf so that outgoing mail waits for
 * the queue worker, worked out from what is there. Pure: nothing is run or
 * written.
 *
 * Every outgoing transport goes into defer_transports. Probes of
 * reject_unverified_recipient and its like use the same transports and would
 * be parked, too, so they get clones of their own.
 */
import { transportName, words } from "../config/postconf.ts";

/** What the plan is made from: values as main.cf has them, $names not expanded; undefined where it has none. */
export interface PostfixState {
  readonly explicit: ReadonlyMap<string, string>;
  /** Values in effect, $names expanded. */
  readonly effective: ReadonlyMap<string, string>;
  /** Services of master.cf, "smtp/unix" with the fields after the type. */
  readonly services: ReadonlyMap<string, string>;
}

export interface Change {
  /** A parameter of main.cf, or "name/type" of a service. */
  readonly name: string;
  /** undefined: it was not there. */
  readonly before: string | undefined;
  readonly after: string;
}

export interface Plan {
  /** Those that wait for the worker, once the plan is carried out. */
  readonly transports: readonly string[];
  readonly parameters: readonly Change[];
  readonly services: readonly Change[];
  /** What the admin should know. */
  readonly notes: readonly string[];
  /** Why it cannot be done; then nothing else counts. */
  readonly problem: string;
}

/** Parameters that a plan reads. */
export const PLAN_PARAMETERS = [
  "defer_transports",
  "default_transport",
  "relay_transport",
  "enable_long_queue_ids",
  "address_verify_default_transport",
  "address_verify_relay_transport",
  "address_verify_transport_maps",
  "transport_maps",
  "content_filter",
] as const;

const CLONE = "postlua-verify-";
/** With each of the verification parameters, what it stands for. */
const PROBES = {
  address_verify_default_transport: "default_transport",
  address_verify_relay_transport: "relay_transport",
} as const;

/** @param wanted transports to park; default: those that Postfix sends outgoing mail by */
export function installPlan(state: PostfixState, wanted: readonly string[] = []): Plan {
  const { effective, services } = state;
  const clients = [...services]
    .filter(([name, fields]) => name.endsWith("/unix") && fieldOf(fields, COMMAND) === "smtp")
    .map(([name]) => name.slice(0, -"/unix".length))
    .filter((name) => !name.startsWith(CLONE));
  const usual = [
    transportName(effective.get("default_transport")),
    transportName(effective.get("relay_transport")),
    "smtp",
    "relay",
  ];
  const outgoing = new Set(wanted.length > 0 ? wanted : usual.filter((name) => clients.includes(name)));
  const strange = [...outgoing].filter((name) => !clients.includes(name));
  if (strange.length > 0) {
    return refused(
      `master.cf has no SMTP client named ${strange.join(", ")}; it has ${clients.join(", ") || "none"}`,
    );
  }
  if (outgoing.size === 0) return refused("master.cf has no SMTP client that outgoing mail is sent by");
  const parked = words(effective.get("defer_transports"));
  const transports = [...new Set([...parked, ...outgoing])];
  const parameters = [
    change(state, "defer_transports", transports.join(", ")),
    change(state, "enable_long_queue_ids", "yes"),
  ];
  const clones = new Map<string, Change>();
  for (const [name, original] of Object.entries(PROBES)) {
    const value = effective.get(name) || effective.get(original) || "";
    const transport = transportName(value);
    if (!transports.includes(transport)) continue;
    const service = `${CLONE}${transport}/unix`;
    const fields = services.get(`${transport}/unix`);
    if (fields === undefined) continue;
    clones.set(service, { name: service, before: services.get(service), after: fields });
    parameters.push(change(state, name, `${CLONE}${value}`));
  }
  return {
    transports,
    parameters: parameters.filter((one) => one !== undefined),
    services: [...clones.values()].filter(({ before, after }) => before !== after),
    notes: notes(state, clients, transports),
    problem: "",
  };
}

function change({ explicit, effective }: PostfixState, name: string, after: string): Change | undefined {
  const now = effective.get(name) ?? "";
  const same = words(now).join(" ") === words(after).join(" ");
  return same ? undefined : { name, before: explicit.get(name), after };
}

function notes(
  { effective }: PostfixState,
  clients: readonly string[],
  transports: readonly string[],
): string[] {
  const notes: string[] = [];
  const others = clients.filter((name) => !transports.includes(name));
  if (others.length > 0) {
    notes.push(
      `SMTP clients that go on sending by themselves: ${others.join(", ")}; --transports names others to park`,
    );
  }
  if (
    (effective.get("transport_maps") ?? "") !== "" &&
    (effective.get("address_verify_transport_maps") ?? "") !== ""
  ) {
    notes.push(
      "address probes to domains that transport_maps sends by a parked transport are parked, too; where addresses are verified, give address_verify_transport_maps tables of its own",
    );
  }
  const filter = transportName(effective.get("content_filter"));
  if (filter !== "" && transports.includes(filter)) {
    notes.push(
      `content_filter uses ${filter}, which is parked: mail waits before it is filtered, and again after`,
    );
  }
  return notes;
}

/** Of the fields after the type: private, unpriv, chroot, wakeup, maxproc, command. */
const COMMAND = 5;

function fieldOf(fields: string, n: number): string {
  return fields.split(/\s+/)[n] ?? "";
}

function refused(problem: string): Plan {
  return { transports: [], parameters: [], services: [], notes: [], problem };
}
