/**
 * Every parameter of postlua.toml: name, default, unit and meaning, in one
 * place. README.md's table is checked against this file by a test.
 *
 * Pure description: reading files, line numbers and Postfix's own defaults
 * are load.ts's work.
 */
import { isIP } from "node:net";
import { isAbsolute } from "node:path";
import { z } from "zod";
import { databaseProblem } from "./database.ts";
import { networkProblem, patternProblem } from "./networks.ts";
import { scheduleProblem } from "./schedule.ts";

const directory = (meaning: string) =>
  z.string().refine(isAbsolute, "must be an absolute path, such as /var/lib/postlua").describe(meaning);

const positive = (meaning: string, fallback: number) =>
  z
    .number()
    .int("must be a whole number")
    .positive("must be greater than 0")
    .default(fallback)
    .describe(meaning);

const networks = z.array(z.string().superRefine(checkNetwork));

function checkNetwork(text: string, context: z.RefinementCtx): void {
  const problem = networkProblem(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
}

function isServer(text: string): boolean {
  const [, bracketed, plain = text, port] = /^(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return isIP(bracketed ?? plain) !== 0 && Number(port ?? 53) > 0 && Number(port ?? 53) < 65_536;
}

function isDomain(text: string): boolean {
  return text.length <= 189 && isIP(text) === 0 && /^[\w-]{1,63}(?:\.[\w-]{1,63})*\.?$/.test(text);
}

function checkPattern(text: string, context: z.RefinementCtx): void {
  const problem = patternProblem(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
}

function checkDatabase(text: string, context: z.RefinementCtx): void {
  const problem = databaseProblem(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
}

function checkSchedule(text: string, context: z.RefinementCtx): void {
  const problem = scheduleProblem(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
}

const listenAddress = z
  .string()
  .regex(
    /^(unix:\/.+|inet:\d+@.+|inet6:\d+@.+|inet:[^:@]+:\d+)$/,
    'must look like "unix:/run/postlua/milter.sock", "inet:8891@127.0.0.1" or "inet6:8891@::1"',
  )
  .refine(
    (text) => Number(/^inet6?:(\d+)@/.exec(text)?.[1] ?? /^inet:.*:(\d+)$/.exec(text)?.[1] ?? 0) <= 65535,
    "has a port above 65535",
  );

export const CONFIG = z
  .strictObject({
    scripts_dir: directory(
      "where SMTPSVR.LUA and the other scripts lie; file names match whatever their case",
    ).default("/etc/postlua/scripts"),
    data_dir: directory('what scripts know as "the VPOP3 folder": relative file names resolve here').default(
      "/var/lib/postlua",
    ),
    log_dir: directory("where LUA.OUT and LUAERRORS.LOG are written").default("/var/log/postlua"),
    save_dir: directory("VPOP3.SaveAttachment writes below this directory and nowhere else").default(
      "/var/lib/postlua/saved",
    ),
    save_overwrite: z
      .boolean()
      .default(false)
      .describe("whether VPOP3.SaveAttachment may replace an existing file"),
    lua_dialect: z
      .enum(["5.0", "5.2"])
      .default("5.0")
      .describe("which Lua decides where 5.0 and 5.2 contradict each other"),
    script_error: z
      .enum(["tempfail", "accept", "reject"])
      .default("tempfail")
      .describe("what the client gets when a script fails: 451 4.3.0, no objection, or 554 5.3.0"),
    watch_scripts: z
      .boolean()
      .default(true)
      .describe("whether changed scripts are loaded by themselves; else by SIGHUP and `postlua reload` only"),
    client_networks: networks
      .default(["0.0.0.0/0", "::/0"])
      .describe("clients for which ValidClientAddress enters true; others are refused with 554"),
    local_networks: networks
      .optional()
      .describe("clients for which LocalClientAddress enters true; default: Postfix's mynetworks"),
    log_level: z
      .enum(["error", "warn", "info", "debug"])
      .default("info")
      .describe("least important log lines to write; decisions are info"),
    clients: z
      .array(
        z.strictObject({
          network: z.string().superRefine(checkNetwork).describe("address or range the row is for"),
          authentication_required: z.boolean().default(false).describe("AuthenticationRequired on entry"),
          allowed_users: z
            .string()
            .default("")
            .describe("AllowedUsers on entry: login names, separated by spaces"),
        }),
      )
      .default([])
      .describe("rows of per-client values; the first row whose network matches is used"),
    postfix: z
      .strictObject({
        config_dir: directory("configuration directory of the Postfix instance served").default(
          "/etc/postfix",
        ),
      })
      .prefault({})
      .describe("the Postfix instance"),
    milter: z
      .strictObject({
        listen: z
          .array(listenAddress)
          .default(["unix:/run/postlua/milter.sock"])
          .describe("addresses that smtpd_milters connects to"),
        socket_mode: z
          .string()
          .regex(/^0?[0-7]{3}$/, 'must be an octal mode such as "0660"')
          .default("0660")
          .describe("mode of unix sockets"),
        socket_group: z.string().optional().describe("group of unix sockets; default: unchanged"),
        max_packet: positive("longest milter packet taken, bytes", 1_048_576),
        idle_timeout_s: positive("seconds without a packet after which a connection is closed", 7_500),
      })
      .prefault({})
      .describe("the milter listener"),
    policy: z
      .strictObject({
        listen: z
          .array(listenAddress)
          .default([])
          .describe("addresses that check_policy_service connects to; with none there is no policy service"),
        socket_mode: z
          .string()
          .regex(/^0?[0-7]{3}$/, 'must be an octal mode such as "0660"')
          .default("0660")
          .describe("mode of its unix sockets"),
        socket_group: z.string().optional().describe("group of its unix sockets; default: unchanged"),
        idle_timeout_s: positive(
          "seconds without a request after which a policy connection is closed",
          1_500,
        ),
        session_timeout_s: positive(
          "seconds without a request after which a session without a milter ends",
          600,
        ),
      })
      .prefault({})
      .describe("the policy service"),
    control: z
      .strictObject({
        socket: directory(
          "unix socket that `postlua status` and `postlua reload` talk to; mode 0600",
        ).default("/run/postlua/control.sock"),
      })
      .prefault({})
      .describe("the control socket"),
    store: z
      .strictObject({
        database: z
          .string()
          .superRefine(checkDatabase)
          .default("sqlite:/var/lib/postlua/postlua.db")
          .describe(
            'where users, settings and lists are kept: "sqlite:/path", or for several hosts "postgresql://user@host:port/database"',
          ),
        password_file: directory("file whose first line is the password for PostgreSQL").optional(),
        group: z
          .string()
          .min(1, "must name a group")
          .optional()
          .describe(
            "group that may read the SQLite file, such as Postfix's; set when the file is made; default: the directory's",
          ),
        timeout_ms: positive("time limit of one question to the database, milliseconds", 5_000),
      })
      .prefault({})
      .describe("users, settings and lists"),
    metrics: z
      .strictObject({
        listen: listenAddress
          .optional()
          .describe('address of the Prometheus metrics, such as "inet:9154@127.0.0.1"; default: none'),
      })
      .prefault({})
      .describe("metrics for Prometheus"),
    socketmap: z
      .strictObject({
        listen: z
          .array(listenAddress)
          .default([])
          .describe(
            "addresses that socketmap: tables connect to, for GetEHLOCapabilities; modes as in [milter]",
          ),
      })
      .prefault({})
      .describe("socketmap tables for Postfix"),
    errors: z
      .strictObject({
        repeat_after: z
          .number()
          .int("must be a whole number")
          .min(0, "must not be negative")
          .default(0)
          .describe(
            "seconds within which a worker drops a notice that repeats an earlier one, unless ERRORS.LUA forces it; 0 drops none",
          ),
      })
      .prefault({})
      .describe("bounces, delay warnings and other notices"),
    signature: z
      .strictObject({
        position: z
          .enum(["end", "above_quote"])
          .default("end")
          .describe("where a signature goes: to the end of a text, or above the text that a reply quotes"),
      })
      .prefault({})
      .describe("signatures from SIGNATURE.LUA"),
    routing: z
      .strictObject({
        spam_headers: z
          .array(
            z.string().regex(/^[!-9;-~]+$/, 'must be the name of a header field, such as "X-Spam-Score"'),
          )
          .default(["X-Spamd-Result", "X-Spam-Status", "X-Spam-Score"])
          .describe("header fields that a spam filter before postlua writes its score into, the first wins"),
      })
      .prefault({})
      .describe("routing of users' mail"),
    passwords: z
      .strictObject({
        min_length: z
          .number()
          .int("must be a whole number")
          .min(1, "must be at least 1")
          .max(72, "must be at most 72, since bcrypt takes no more bytes than that")
          .default(8)
          .describe("fewest characters of a new password, whatever PASSWORDCHECK.LUA says"),
        cost: z
          .number()
          .int("must be a whole number")
          .min(4, "must be at least 4")
          .max(18, "must be at most 18")
          .default(10)
          .describe("bcrypt cost of new passwords; each step doubles the time that one login takes"),
      })
      .prefault({})
      .describe("passwords that `postlua passwd` sets"),
    messages: z
      .strictObject({
        spill_above_bytes: positive(
          "body size past which a message is kept in a file without a name instead of in memory, bytes",
          4_194_304,
        ),
        spill_dir: directory("directory of these files; default: data_dir").optional(),
      })
      .prefault({})
      .describe("messages on their way"),
    http: z
      .strictObject({
        deny_networks: networks
          .optional()
          .describe(
            "addresses GetHTTP and GetWHOIS may not reach; default: loopback, private and special ranges",
          ),
        timeout_ms: positive("time limit of one GetHTTP or GetWHOIS, milliseconds", 15_000),
        max_body_bytes: positive("longest body GetHTTP takes, bytes", 8_388_608),
      })
      .prefault({})
      .describe("web and WHOIS look-ups by scripts"),
    dns: z
      .strictObject({
        servers: z
          .array(
            z
              .string()
              .refine(
                isServer,
                'must be an address, such as "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:53"',
              ),
          )
          .optional()
          .describe("DNS servers, address or address:port; default: the system's resolvers"),
        timeout_ms: positive("time limit of one try at one server, milliseconds", 3_000),
      })
      .prefault({})
      .describe("DNS look-ups by scripts"),
    rbl: z
      .strictObject({
        servers: z
          .array(z.string().refine(isDomain, 'must be a domain, such as "zen.spamhaus.org"'))
          .default([])
          .describe("DNS block lists that clients are looked up in"),
        whitelist: z
          .array(z.string().superRefine(checkPattern))
          .default([])
          .describe('clients that are not: addresses, ranges, "192.0.2.*", names, "*.example.com"'),
        check_all: z
          .boolean()
          .default(true)
          .describe(
            "RBLCheckAllServers on entry: whether all lists are waited for, or the first that lists the client",
          ),
        action: z
          .enum(["reject", "discard", "accept"])
          .default("reject")
          .describe("what a listed client gets where SMTPSVR.LUA does not say"),
        spare_authenticated: z
          .boolean()
          .default(true)
          .describe(
            "whether clients that log in are spared: refusals then wait for MAIL; else they come at connect",
          ),
        timeout_ms: positive("time limit of one list, milliseconds", 3_000),
        total_ms: positive("time limit of all lists together, milliseconds", 5_000),
      })
      .prefault({})
      .describe("DNS block lists"),
    queue: z
      .strictObject({
        user: z
          .string()
          .min(1, "must name a user")
          .default("postlua")
          .describe(
            "user that RELAYOUT.LUA and MXOUT.LUA run as, when the queue worker is started as root; must have no right to Postfix's queue",
          ),
        schedule: z
          .string()
          .superRefine(checkSchedule)
          .default("*/5 * * * *")
          .describe("cron expression of the sending sessions of `postlua queue --watch`, in local time"),
        on_change: z
          .boolean()
          .default(true)
          .describe("whether new mail and retries that come due go at once; else they wait for the schedule"),
        order: z
          .enum(["arrival", "size"])
          .default("arrival")
          .describe("which of two messages with the same priority goes first: the older, or the smaller one"),
        window: z
          .number()
          .int("must be a whole number")
          .min(1, "must be at least 1")
          .max(1_000, "must be at most 1000")
          .optional()
          .describe(
            "messages under way to one destination; 1 is the exact order; default: a quarter more than Postfix's concurrency limit",
          ),
        check_ms: positive("time one CheckFile may take, waits included, milliseconds", 5_000),
        session_check_ms: positive(
          "time CheckFile of one script may take in a session, beyond 20 ms a message; then messages go as they are, milliseconds",
          300_000,
        ),
        failsafe_after: positive(
          "seconds past a planned session that did not happen after which `postlua queue failsafe` has Postfix send everything",
          900,
        ),
      })
      .prefault({})
      .describe("the queue worker"),
    limits: z
      .strictObject({
        workers: z
          .number()
          .int()
          .min(1)
          .max(256)
          .optional()
          .describe("worker processes that run scripts; default: one for each core"),
        instructions: positive("Lua instructions one callback may take", 200_000_000),
        cpu_ms: positive("processor time one callback may take, milliseconds", 2_000),
        wall_ms: positive("time one callback may take, waits included, milliseconds", 25_000),
        message_wall_ms: positive("the same for ProcessMessage, milliseconds", 120_000),
        string_bytes: positive("bytes of strings one callback may make", 536_870_912),
        output_bytes: positive("bytes one callback may print", 1_048_576),
        open_files: positive("files one session may hold open", 64),
        max_string_bytes: positive("longest Lua string, bytes", 67_108_864),
        worker_memory_mb: z
          .number()
          .int("must be a whole number")
          .min(384, "must be at least 384")
          .default(1_024)
          .describe(
            "resident memory at which a worker process is killed, megabytes; its scripts get about half of it",
          ),
        watchdog_ms: z
          .number()
          .int("must be a whole number")
          .min(200, "must be at least 200")
          .default(5_000)
          .describe("standstill after which a worker process is killed and replaced, milliseconds"),
        script_deaths: positive(
          "standstills and memory overflows in workers after which the script that ran there is switched off",
          3,
        ),
        script_deaths_minutes: positive("time within which they count, minutes", 10),
        stop_timeout_ms: positive(
          "time that an orderly stop leaves messages under way, milliseconds",
          30_000,
        ),
      })
      .prefault({})
      .describe("what a script and the service may use"),
  })
  .superRefine(({ milter, policy }, context) => {
    if (milter.listen.length > 0 || policy.listen.length > 0) return;
    const message = "needs at least one address, unless [policy] listen has one";
    context.addIssue({ code: "custom", path: ["milter", "listen"], message });
  });

export type ConfigFile = z.infer<typeof CONFIG>;
