/**
 * The quickstart's three messages: real SMTP sessions whose dialogue, Lua
 * decisions and outcome are printed as they happen, and checked.
 */
import { decodeText } from "../src/bytes.ts";
import type { PrivatePostfix } from "./private-instance.ts";
import type { LogLine, PostluaService } from "./service.ts";
import type { Sink, SinkMessage } from "./sink.ts";
import { SmtpClient } from "./smtp-client.ts";

export interface Stage {
  readonly postfix: PrivatePostfix;
  readonly postlua: PostluaService;
  readonly sink: Sink;
  readonly print: (text: string) => void;
  readonly paint: Paint;
}

/** Makes text stand out, on a terminal. */
export type Paint = (style: "strong" | "faint" | "good" | "bad", text: string) => string;

interface Act {
  readonly title: string;
  readonly recipient: string;
  readonly subject: string;
  /** The reply that must come to RCPT, when it is a refusal. */
  readonly refusal?: string;
  /** A header line that must be on the message that arrives; undefined when none may arrive. */
  readonly tag?: RegExp;
}

const ACTS: readonly Act[] = [
  {
    title: "a message that is accepted and tagged",
    recipient: "bob@example.test",
    subject: "Hello",
    tag: /^X-Checked: message 1 from /,
  },
  {
    title: "a recipient that is refused at RCPT",
    recipient: "former@example.test",
    subject: "Hello",
    refusal: "550 5.1.6 Please write to office@example.test instead",
  },
  {
    title: "a message that is accepted and then discarded",
    recipient: "bob@example.test",
    subject: "Make money fast!",
  },
];

/** Plays all acts. Throws an Error in words when something else happens than the example script says. */
export async function playDemo(stage: Stage): Promise<void> {
  for (const [index, act] of ACTS.entries()) {
    stage.print(stage.paint("strong", `\n${index + 1}. ${act.title}`));
    await play(stage, act);
  }
  stage.print(stage.paint("strong", "\nwhat the script printed (LUA.OUT)"));
  for (const line of (await printedBy(stage.postlua)).split("\n")) {
    if (line !== "") stage.print(`   ${decodeText(line)}`);
  }
}

async function play(stage: Stage, act: Act): Promise<void> {
  const { postfix, postlua, sink, print, paint } = stage;
  const before = sink.messages.length;
  const linesBefore = postlua.lines.length;
  const answers = await talk(stage, act);

  const since = () => postlua.lines.slice(linesBefore);
  await postlua.waitFor((line) => since().includes(line) && line.callback === "End");
  print(paint("faint", "   what the callbacks said:"));
  for (const line of since().filter(({ event }) => event === "decision")) print(`     ${decisionText(line)}`);

  await postfix.settled();
  const arrived = sink.messages.slice(before);
  for (const message of arrived) for (const line of arrivalText(message)) print(`   ${paint("good", line)}`);
  if (arrived.length === 0) print(`   ${paint("bad", "nothing arrived")}`);
  check(act, answers, arrived);
}

/** One SMTP session; returns the reply to RCPT and, when it got that far, to the message. */
async function talk(stage: Stage, act: Act): Promise<{ recipient: string; message: string }> {
  const { print, paint } = stage;
  const { client, greeting } = await SmtpClient.connect({ port: stage.postfix.port });
  const show = (text: string) => {
    for (const line of text.split("\n")) print(paint("faint", `   S: ${line}`));
  };
  const say = async (line: string): Promise<string> => {
    print(`   C: ${line}`);
    const { text } = await client.command(line);
    show(text);
    return text;
  };
  show(greeting.text);
  print("   C: EHLO client.test");
  show((await client.command("EHLO client.test")).lines[0] ?? "");
  await say("MAIL FROM:<alice@client.test>");
  const recipient = await say(`RCPT TO:<${act.recipient}>`);
  let message = "";
  if (recipient.startsWith("250")) {
    await say("DATA");
    const lines = [
      "From: Alice <alice@client.test>",
      `To: ${act.recipient}`,
      `Subject: ${act.subject}`,
      "",
      "Good morning.",
      "",
    ];
    for (const line of [...lines.slice(0, -1), "."]) print(`   C: ${line}`);
    ({ text: message } = await client.message(lines.join("\r\n")));
    show(message);
  }
  await say("QUIT");
  await client.closed;
  return { recipient, message };
}

function check(
  act: Act,
  answers: { recipient: string; message: string },
  arrived: readonly SinkMessage[],
): void {
  const wrong = (problem: string): never => {
    throw new Error(`${act.title}: ${problem}`);
  };
  if (act.refusal !== undefined) {
    if (answers.recipient !== act.refusal) wrong(`RCPT was answered "${answers.recipient}"`);
  } else if (!answers.message.startsWith("250 ")) {
    wrong(`the message was answered "${answers.message}"`);
  }
  const { tag } = act;
  if (tag === undefined) {
    if (arrived.length > 0) wrong("a message arrived all the same");
  } else if (!arrived[0]?.headers.some(([name, value]) => tag.test(`${name}:${value}`))) {
    wrong("no message with the tag arrived");
  }
}

/** A decision as one readable line. */
export function decisionText(line: LogLine): string {
  const text = (key: string) => (line[key] === undefined ? "" : String(line[key]));
  const queue = text("queue") === "" ? "" : ` [${text("queue")}]`;
  const detail = text("detail") === "" ? "" : ` (${text("detail")})`;
  return `${text("callback").padEnd(17)} ${text("result")}${detail}${queue} ${text("ms")} ms`;
}

/** What arrived, as lines: envelope, and the header lines that no client wrote. */
export function arrivalText(message: SinkMessage): string[] {
  const header = (wanted: string) =>
    message.headers.find(([name]) => name.toLowerCase() === wanted)?.[1].trim();
  return [
    `arrived: <${message.sender}> to ${message.recipients.map((address) => `<${address}>`).join(", ")}, ` +
      `"${decodeText(header("subject") ?? "")}", ${message.bytes.length} bytes`,
    ...message.headers
      .filter(([name]) => /^x-/i.test(name))
      .map(([name, value]) => `  ${decodeText(`${name}:${value}`)}`),
  ];
}

/** LUA.OUT once it is complete: the service writes it a moment after the script's words. */
async function printedBy(postlua: PostluaService): Promise<string> {
  for (const end = Date.now() + 5_000; Date.now() < end; ) {
    const text = postlua.printed();
    if (text.split("goodbye").length > ACTS.length) return text;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return postlua.printed();
}
