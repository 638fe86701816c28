/**
 * `npm run quickstart`: a private Postfix with postlua and the example scripts
 * attached, three messages to watch, then a mail server to play with until
 * Ctrl-C. Everything it makes is in one scratch directory and gone afterwards.
 */

import { join, resolve } from "node:path";
import { parseArgs, styleText } from "node:util";
import { arrivalText, decisionText, type Paint, playDemo } from "./demo.ts";
import { whyNoPostfix } from "./layout.ts";
import { PrivatePostfix } from "./private-instance.ts";
import { type LogLine, PostluaService } from "./service.ts";
import { Sink } from "./sink.ts";

const DEFAULT_PORT = 2525;
const EXAMPLES = join(import.meta.dirname, "examples");
const EX_USAGE = 64;
const EX_UNAVAILABLE = 69;

const HELP = `Usage: npm run quickstart [-- OPTIONS]

Starts a private Postfix on 127.0.0.1 with postlua attached, sends three
messages through it and shows what the scripts said about each, then stays up
until Ctrl-C. No mail leaves the machine; a system Postfix is left alone.

  --port N       where Postfix listens (default ${DEFAULT_PORT})
  --scripts DIR  serve your own scripts; the three messages are left out
  --once         leave after the three messages
  --help         this text

Exit codes: 0 done, or ended by Ctrl-C or SIGTERM (130 by a second one)
            1 a message was not treated as the example script says
            ${EX_USAGE} wrong usage
            ${EX_UNAVAILABLE} cannot run here: not root, no Postfix, or the port is taken
`;

interface Options {
  readonly port: number;
  readonly scripts: string | undefined;
  readonly once: boolean;
}

const paint: Paint = (style, text) => {
  const colours = { strong: "bold", faint: "dim", good: "green", bad: "yellow" } as const;
  return styleText(colours[style], text, { stream: process.stdout });
};
const print = (text: string) => void process.stdout.write(`${text}\n`);

/** Resolves at the first of the signals that end a program; the second ends it at once. */
function asked(): Promise<void> {
  return new Promise((resolve) => {
    let times = 0;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
      process.on(signal, () => {
        if (++times > 1) process.exit(130);
        resolve();
      });
    }
  });
}

function readOptions(): Options | number {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: "string" },
        scripts: { type: "string" },
        once: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      process.stdout.write(HELP);
      return 0;
    }
    const port = Number(values.port ?? DEFAULT_PORT);
    if (!Number.isInteger(port) || port < 1 || port > 65_535)
      throw new Error(`--port ${values.port} is no port`);
    return { port, scripts: values.scripts, once: values.once };
  } catch (error) {
    process.stderr.write(`quickstart: ${(error as Error).message}\n\n${HELP}`);
    return EX_USAGE;
  }
}

async function run(options: Options): Promise<number> {
  const reason = whyNoPostfix();
  if (reason !== undefined) {
    process.stderr.write(`quickstart: ${reason}\n`);
    return EX_UNAVAILABLE;
  }
  const ended = asked();
  let live = false;
  await using sink = await Sink.start({
    onMessage: (message) => {
      if (live) for (const line of arrivalText(message)) print(paint("good", line));
    },
  });
  await using postfix = PrivatePostfix.create({ smtpPort: options.port, sinkPort: sink.port });
  const scripts = resolve(options.scripts ?? EXAMPLES);
  await using postlua = new PostluaService({
    scratch: postfix.scratch,
    configDirectory: postfix.configDirectory,
    scripts,
    onLine: (line) => {
      if (live || isTrouble(line)) print(liveText(line));
    },
  });
  await postfix.postconf({ smtpd_milters: postlua.milter });
  try {
    await postfix.start();
  } catch (error) {
    process.stderr.write(`quickstart: ${(error as Error).message}; choose another with --port\n`);
    return EX_UNAVAILABLE;
  }
  await postlua.start();
  print(
    `Postfix ${postfix.version} listens on 127.0.0.1:${postfix.port}; all its files are in ${postfix.scratch.path}`,
  );
  print(`postlua asks the scripts in ${scripts}`);

  if (options.scripts === undefined) {
    const demo = playDemo({ postfix, postlua, sink, print, paint });
    // Cut off by a signal, it fails for lack of a server; nobody needs to hear that.
    demo.catch(() => {});
    await Promise.race([demo, ended]);
  }
  if (options.once) return 0;
  live = true;
  print(invitation(postfix.port));
  // Neither the sink nor the two programs keep this process alive by themselves.
  const alive = setInterval(() => {}, 3_600_000);
  await ended;
  clearInterval(alive);
  print("\nstopping");
  live = false;
  return 0;
}

function invitation(port: number): string {
  return `
${paint("strong", "your turn")}
   telnet 127.0.0.1 ${port}
   swaks --server 127.0.0.1:${port} --from you@client.test --to bob@example.test

   Every decision and every arrival is shown below. Ctrl-C ends everything.
`;
}

function isTrouble({ level }: LogLine): boolean {
  return level === undefined || level === "warn" || level === "error";
}

function liveText(line: LogLine): string {
  const { time, level, event, ...fields } = line;
  const clock = typeof time === "string" ? `${time.slice(11, 19)} ` : "";
  if (event === "decision") return `${clock}${decisionText(line)}`;
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  return paint(isTrouble(line) ? "bad" : "faint", `${clock}${level ?? ""} ${event}${rest.join("")}`);
}

const options = readOptions();
if (typeof options === "number") {
  process.exitCode = options;
} else {
  try {
    process.exitCode = await run(options);
  } catch (error) {
    process.stderr.write(`quickstart: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
