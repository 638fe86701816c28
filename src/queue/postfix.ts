/**
 * Postfix's own programs and its flush service: the only file that changes
 * anything in the queue, and it does so by Postfix's hands alone.
 *
 * Takes queue IDs and nothing else; each is checked before it gets near a
 * command line. Every program has a time limit. Fails with PostfixError,
 * which has the program's own words.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { parameterValues, transportName, words } from "../config/postconf.ts";
import { askStatus, ServiceError } from "./attributes.ts";
import { isQueueId } from "./queue-id.ts";

/** A program of Postfix failed or could not be run. */
export class PostfixError extends Error {
  override name = "PostfixError";
}

/** What the queue worker has to know of main.cf; all times in seconds. */
export interface QueueSettings {
  readonly queueDirectory: string;
  readonly commandDirectory: string;
  /** User that owns the queue. */
  readonly mailOwner: string;
  readonly mailVersion: string;
  readonly myHostname: string;
  readonly minimalBackoffTime: number;
  readonly maximalBackoffTime: number;
  readonly maximalQueueLifetime: number;
  readonly bounceQueueLifetime: number;
  readonly queueRunDelay: number;
  /** 0: no delay warnings. */
  readonly delayWarningTime: number;
  readonly destinationConcurrencyLimit: number;
  /** Per transport, where main.cf has TRANSPORT_destination_concurrency_limit. */
  readonly transportConcurrencyLimits: Readonly<Record<string, number>>;
  readonly activeLimit: number;
  readonly deferTransports: readonly string[];
  readonly defaultTransport: string;
  readonly relayTransport: string;
  readonly relayhost: string;
  readonly defaultFilterNexthop: string;
  readonly longQueueIds: boolean;
  readonly hashQueueNames: readonly string[];
  readonly hashQueueDepth: number;
  /** Services of master.cf that are SMTP clients, by name. */
  readonly smtpTransports: readonly string[];
  /** The next hop depends on nothing but the recipient's domain: no per-address or per-sender tables. */
  readonly nextHopByDomain: boolean;
}

export interface PostfixOptions {
  /** Directory of main.cf. */
  readonly configDirectory: string;
  /** Limit of one program, milliseconds; default 30 s. */
  readonly timeoutMs?: number;
}

const NAMES = [
  "queue_directory",
  "command_directory",
  "mail_owner",
  "mail_version",
  "myhostname",
  "minimal_backoff_time",
  "maximal_backoff_time",
  "maximal_queue_lifetime",
  "bounce_queue_lifetime",
  "queue_run_delay",
  "delay_warning_time",
  "default_destination_concurrency_limit",
  "qmgr_message_active_limit",
  "defer_transports",
  "default_transport",
  "relay_transport",
  "relayhost",
  "default_filter_nexthop",
  "enable_long_queue_ids",
  "hash_queue_names",
  "hash_queue_depth",
  "transport_maps",
  "relocated_maps",
  "sender_dependent_relayhost_maps",
  "sender_dependent_default_transport_maps",
] as const;

/** IDs on one command's standard input. */
const MAX_IDS = 20_000;

export class PostfixQueue {
  readonly #configDirectory: string;
  readonly #timeoutMs: number;
  readonly settings: QueueSettings;
  /** Programs run one after another, however many are asked for at once. */
  #running: Promise<unknown> = Promise.resolve();

  private constructor(options: PostfixOptions, settings: QueueSettings) {
    this.#configDirectory = options.configDirectory;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.settings = settings;
  }

  /** Asks Postfix for its settings. @throws PostfixError when it is not installed or has no such configuration */
  static async open(options: PostfixOptions): Promise<PostfixQueue> {
    return new PostfixQueue(options, await readSettings(options));
  }

  get queueDirectory(): string {
    return this.settings.queueDirectory;
  }

  /**
   * Asks for one try to deliver a deferred message: it moves to incoming/ and passes defer_transports once. Does
   * nothing to a message that is in another queue, which Postfix does not tell.
   *
   * @throws RangeError for what is no queue ID; PostfixError
   */
  async release(id: string): Promise<void> {
    check([id]);
    const socket = join(this.settings.queueDirectory, "public", "flush");
    try {
      await askStatus(socket, this.#timeoutMs, { request: "send_file", queue_id: id });
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      await this.releaseByCommand(id);
    }
  }

  /** As release, by `postqueue -i`: for those who may not open the socket, at the price of a process. */
  async releaseByCommand(id: string): Promise<void> {
    check([id]);
    await this.#run("postqueue", ["-i", id]);
  }

  /**
   * Marks messages as expired (`postsuper -e`): Postfix bounces them, without another try, when it takes them up
   * next. Needs root.
   *
   * @throws RangeError, PostfixError
   */
  async expire(ids: readonly string[]): Promise<void> {
    check(ids);
    if (ids.length > 0) await this.#run("postsuper", ["-e", "-"], `${ids.join("\n")}\n`);
  }

  /** Tries to deliver everything that is deferred (`postqueue -f`), defer_transports or not. @throws PostfixError */
  async flush(): Promise<void> {
    await this.#run("postqueue", ["-f"]);
  }

  #run(program: string, args: readonly string[], input = ""): Promise<string> {
    const path = join(this.settings.commandDirectory, program);
    const all = ["-c", this.#configDirectory, ...args];
    const next = this.#running.then(() => run(path, all, this.#timeoutMs, input));
    this.#running = next.catch(() => {});
    return next;
  }
}

function check(ids: readonly string[]): void {
  if (ids.length > MAX_IDS) throw new RangeError(`more than ${MAX_IDS} queue IDs`);
  for (const id of ids) {
    if (!isQueueId(id)) throw new RangeError(`not a queue ID: ${JSON.stringify(String(id).slice(0, 80))}`);
  }
}

/** Settings as `postconf` gives them. @throws PostfixError */
export async function readSettings(options: PostfixOptions): Promise<QueueSettings> {
  const { configDirectory, timeoutMs = 30_000 } = options;
  // postconf takes a second to find that out.
  if (!existsSync(join(configDirectory, "main.cf"))) {
    throw new PostfixError(
      `${configDirectory} has no main.cf; name the Postfix instance's configuration directory`,
    );
  }
  const postconf = postconfProgram();
  const ask = (args: readonly string[]) => run(postconf, ["-c", configDirectory, ...args], timeoutMs);
  const [main, limits, master] = await Promise.all([ask(["-x", ...NAMES]), ask(["-nx"]), ask(["-M"])]);
  const values = parameterValues(main);
  const text = (name: (typeof NAMES)[number]) => values.get(name) ?? "";
  const list = (name: (typeof NAMES)[number]) => words(text(name));
  const number = (name: (typeof NAMES)[number]) => wholeNumber(name, text(name));
  const seconds = (name: (typeof NAMES)[number], unit: TimeUnit) => timeValue(name, text(name), unit);
  return {
    queueDirectory: text("queue_directory"),
    commandDirectory: text("command_directory") || dirname(postconf),
    mailOwner: text("mail_owner"),
    mailVersion: text("mail_version"),
    myHostname: text("myhostname"),
    minimalBackoffTime: seconds("minimal_backoff_time", "s"),
    maximalBackoffTime: seconds("maximal_backoff_time", "s"),
    maximalQueueLifetime: seconds("maximal_queue_lifetime", "d"),
    bounceQueueLifetime: seconds("bounce_queue_lifetime", "d"),
    queueRunDelay: seconds("queue_run_delay", "s"),
    delayWarningTime: seconds("delay_warning_time", "h"),
    destinationConcurrencyLimit: number("default_destination_concurrency_limit"),
    transportConcurrencyLimits: concurrencyLimits(parameterValues(limits)),
    activeLimit: number("qmgr_message_active_limit"),
    deferTransports: list("defer_transports"),
    defaultTransport: transportName(text("default_transport")),
    relayTransport: transportName(text("relay_transport")),
    relayhost: text("relayhost"),
    defaultFilterNexthop: text("default_filter_nexthop"),
    longQueueIds: text("enable_long_queue_ids") === "yes",
    hashQueueNames: list("hash_queue_names"),
    hashQueueDepth: number("hash_queue_depth"),
    smtpTransports: smtpClients(master),
    nextHopByDomain: [
      "transport_maps",
      "relocated_maps",
      "sender_dependent_relayhost_maps",
      "sender_dependent_default_transport_maps",
    ].every((name) => (values.get(name) ?? "") === ""),
  };
}

function postconfProgram(): string {
  const directories = ["/usr/sbin", "/usr/local/sbin", ...(process.env.PATH ?? "").split(delimiter)];
  const found = directories.map((directory) => join(directory, "postconf")).find((path) => existsSync(path));
  if (found === undefined)
    throw new PostfixError("Postfix is not installed: there is no postconf in /usr/sbin or PATH");
  return found;
}

function concurrencyLimits(values: ReadonlyMap<string, string>): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const [name, value] of values) {
    const [, transport] = /^(.+)_destination_concurrency_limit$/.exec(name) ?? [];
    if (transport === undefined || transport === "default" || !/^\d+$/.test(value)) continue;
    limits[transport] = Number(value);
  }
  return limits;
}

const UNITS = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 } as const;
type TimeUnit = keyof typeof UNITS;

/**
 * A time value of main.cf in seconds: "5d", "300s", "1h30m"; a bare number is in `unit`, the parameter's own.
 *
 * @throws PostfixError
 */
export function timeValue(name: string, text: string, unit: TimeUnit): number {
  if (/^\d+$/.test(text)) return Number(text) * UNITS[unit];
  if (!/^(?:\d+[smhdw])+$/i.test(text))
    throw new PostfixError(`${name} = ${text}: not a time such as 300s or 5d`);
  let seconds = 0;
  for (const [, count, letter] of text.toLowerCase().matchAll(/(\d+)([smhdw])/g)) {
    seconds += Number(count) * UNITS[letter as TimeUnit];
  }
  return seconds;
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new PostfixError(`${name} = ${text}: not a whole number`);
  return Number(text);
}

/** Names of services whose program is smtp(8); lines are "name type private unpriv chroot wakeup maxproc command args". */
function smtpClients(master: string): string[] {
  return master
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1] === "unix" && fields[7] === "smtp")
    .map((fields) => fields[0] ?? "");
}

function run(path: string, args: readonly string[], timeoutMs: number, input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C", LC_ALL: "C" };
    const options = { env, cwd: "/", encoding: "latin1", timeout: timeoutMs, maxBuffer: 1 << 26 } as const;
    const child = execFile(path, args, { ...options, killSignal: "SIGKILL" }, (error, out, err) => {
      if (error === null) resolve(out);
      else if (error.killed === true) reject(new PostfixError(`${path}: no end within ${timeoutMs} ms`));
      else
        reject(
          new PostfixError(
            `${path} ${args.join(" ")}: ${err.trim().replaceAll("\n", "; ") || error.message}`,
          ),
        );
    });
    // A program that reads nothing may be gone before its input is written.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input, "latin1");
  });
}
