/**
 * What a private Postfix instance consists of on disk: directories with the
 * owners and modes that `postfix check` would give them, main.cf, master.cf.
 *
 * Needs root, and Postfix's users and programs as its package installs them;
 * /etc/postfix is neither read nor written, so a system Postfix beside it,
 * configured or not, makes no difference.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

/** Where this machine's Postfix has its programs and which users it runs as. */
export interface Installation {
  readonly version: string;
  readonly commands: string;
  readonly daemons: string;
  readonly owner: number;
  readonly ownerGroup: number;
  readonly dropGroup: number;
}

/** Parameters of main.cf, or services of master.cf as "name/type" with the other fields ("" removes the service). */
export type Parameters = Readonly<Record<string, string>>;

export interface Places {
  readonly config: string;
  readonly queue: string;
  readonly data: string;
  readonly log: string;
  readonly maillog: string;
}

let found: Installation | undefined;

/** Why no private Postfix can be run here, in words for the user; undefined when one can. */
export function whyNoPostfix(): string | undefined {
  if (process.getuid?.() !== 0) {
    return "a private Postfix needs root, because Postfix's master program starts as root only";
  }
  if (postconfProgram() === undefined) {
    return "Postfix is not installed: run `sh postfix/setup.sh` as root, or `apt-get install postfix`";
  }
  return undefined;
}

/** This machine's Postfix. Throws an Error with whyNoPostfix's words when there is none to use. */
export function installation(): Installation {
  if (found !== undefined) return found;
  const reason = whyNoPostfix();
  const postconf = postconfProgram();
  if (reason !== undefined || postconf === undefined) throw new Error(reason);
  const [version = "", daemons = "", owner = "", setgid = ""] = lines(postconf, [
    "-dhx",
    "mail_version",
    "daemon_directory",
    "mail_owner",
    "setgid_group",
  ]);
  const [, , uid, gid] = lines("getent", ["passwd", owner])[0]?.split(":") ?? [];
  const [, , drop] = lines("getent", ["group", setgid])[0]?.split(":") ?? [];
  found = {
    version,
    daemons,
    commands: dirname(postconf),
    owner: Number(uid),
    ownerGroup: Number(gid),
    dropGroup: Number(drop),
  };
  return found;
}

function postconfProgram(): string | undefined {
  const directories = ["/usr/sbin", "/usr/local/sbin", ...(process.env.PATH ?? "").split(delimiter)];
  return directories.map((directory) => join(directory, "postconf")).find((path) => existsSync(path));
}

function lines(command: string, args: readonly string[]): string[] {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).split("\n");
}

export function placesBelow(directory: string): Places {
  const log = join(directory, "log");
  return {
    config: join(directory, "etc"),
    queue: join(directory, "spool"),
    data: join(directory, "data"),
    log,
    maillog: join(log, "maillog"),
  };
}

export function makeDirectories(places: Places, postfix: Installation): void {
  const make = (path: string, mode: number, owner = 0, group = 0) => {
    mkdirSync(path, { recursive: true });
    chownSync(path, owner, group);
    chmodSync(path, mode);
  };
  make(places.config, 0o755);
  make(places.log, 0o755);
  make(places.data, 0o700, postfix.owner, postfix.ownerGroup);
  make(places.queue, 0o755);
  make(join(places.queue, "pid"), 0o755);
  for (const name of PRIVATE_QUEUES) make(join(places.queue, name), 0o700, postfix.owner);
  make(join(places.queue, "maildrop"), 0o730, postfix.owner, postfix.dropGroup);
  make(join(places.queue, "public"), 0o710, postfix.owner, postfix.dropGroup);
}

const PRIVATE_QUEUES = [
  "active",
  "bounce",
  "corrupt",
  "defer",
  "deferred",
  "flush",
  "hold",
  "incoming",
  "private",
  "saved",
  "trace",
];

/**
 * The parameters every instance starts from. All mail goes to the sink, or
 * stays deferred when there is none; no look-up leaves the machine.
 */
export function baseParameters(
  places: Places,
  postfix: Installation,
  sinkPort: number | undefined,
): Parameters {
  // Port 1 is closed: what cannot be delivered waits in the queue.
  const sink = `[127.0.0.1]:${sinkPort ?? 1}`;
  return {
    compatibility_level: postfix.version.split(".").slice(0, 2).join("."),
    queue_directory: places.queue,
    data_directory: places.data,
    command_directory: postfix.commands,
    daemon_directory: postfix.daemons,
    maillog_file: places.maillog,
    maillog_file_prefixes: places.log,
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    myhostname: "mx.example.test",
    mydomain: "example.test",
    myorigin: "example.test",
    mydestination: "$myhostname, $mydomain, localhost",
    mynetworks: "127.0.0.1/32",
    alias_maps: "",
    alias_database: "",
    local_recipient_maps: "",
    // The transports keep their names, which milters are told; see baseServices for what is behind them.
    local_transport: `local:${sink}`,
    virtual_transport: `virtual:${sink}`,
    local_destination_recipient_limit: "50",
    virtual_destination_recipient_limit: "50",
    relayhost: sink,
    smtp_host_lookup: "native",
    smtp_dns_support_level: "disabled",
    smtp_tls_security_level: "",
    smtpd_peername_lookup: "no",
    smtpd_relay_restrictions: "permit_mynetworks, reject_unauth_destination",
    // Else Postfix would complete the header of what loopback clients send.
    local_header_rewrite_clients: "",
    smtpd_error_sleep_time: "0",
    in_flow_delay: "0",
    bounce_notice_recipient: "postmaster@example.test",
  };
}

/**
 * Services by "name/type": the remaining fields of a master.cf line, none
 * chrooted. The local and virtual transports are SMTP clients here, so that
 * nothing is delivered to this machine's users.
 */
export function baseServices(smtpPort: number): Parameters {
  return {
    [`127.0.0.1:${smtpPort}/inet`]: "n - n - - smtpd",
    "pickup/unix": "n - n 60 1 pickup",
    "cleanup/unix": "n - n - 0 cleanup",
    "qmgr/unix": "n - n 300 1 qmgr",
    "tlsmgr/unix": "- - n 1000? 1 tlsmgr",
    "rewrite/unix": "- - n - - trivial-rewrite",
    "bounce/unix": "- - n - 0 bounce",
    "defer/unix": "- - n - 0 bounce",
    "trace/unix": "- - n - 0 bounce",
    "verify/unix": "- - n - 1 verify",
    "flush/unix": "n - n 1000? 0 flush",
    "proxymap/unix": "- - n - - proxymap",
    "proxywrite/unix": "- - n - 1 proxymap",
    "smtp/unix": "- - n - - smtp",
    "relay/unix": "- - n - - smtp",
    "showq/unix": "n - n - - showq",
    "error/unix": "- - n - - error",
    "retry/unix": "- - n - - error",
    "discard/unix": "- - n - - discard",
    "local/unix": "- - n - - smtp",
    "virtual/unix": "- - n - - smtp",
    "lmtp/unix": "- - n - - lmtp",
    "anvil/unix": "- - n - 1 anvil",
    "scache/unix": "- - n - 1 scache",
    "postlog/unix-dgram": "n - n - 1 postlogd",
  };
}

export function writeConfiguration(places: Places, parameters: Parameters, services: Parameters): void {
  const main = Object.entries(parameters).map(([name, value]) => `${name} = ${value}\n`);
  const master = Object.entries(services)
    .filter(([, fields]) => fields !== "")
    .map(([service, fields]) => `${service.replace(/\/([^/]*)$/, " $1")} ${fields}\n`);
  writeSettled(join(places.config, "main.cf"), main.join(""));
  writeSettled(join(places.config, "master.cf"), master.join(""));
}

/**
 * Writes a file that Postfix reads. Its time is set back, because Postfix
 * takes a file changed within the last seconds for one still being written
 * and reads it again and again: two seconds at each start of a program.
 */
export function writeSettled(path: string, text: string): void {
  writeFileSync(path, text);
  const past = Date.now() / 1000 - 60;
  utimesSync(path, past, past);
}
