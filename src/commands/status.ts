/** `postlua status`: how the running service is. */
import type { ScriptStatus, Status } from "../serve/status.ts";
import { askAndPrint, controlPlace } from "./control-client.ts";
import { queueLine, queueStatus } from "./queue-status.ts";

/** Asks and prints. @returns exit code: 0 it answered, 1 it did not */
export async function status(configFile: string, json: boolean): Promise<number> {
  const { socket, problems } = controlPlace(configFile);
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  const queue = json ? undefined : await queueStatus(configFile);
  const line = queue === undefined ? "" : `${queueLine(queue)}\n`;
  const text = (answer: Status) => `${statusText(answer)}${line}`;
  return (await askAndPrint(socket, ["GET", "/status"], json, text)) === undefined ? 1 : 0;
}

/** The status for people. */
function statusText(status: Status): string {
  const { sessions, messages, workers, config } = status;
  const lines = [
    `postlua ${status.pid}, ${status.stopping ? "stopping" : "running"} since ${status.started}`,
    `configuration ${config.file}, loaded ${config.loaded}`,
  ];
  if (config.restart_needed.length > 0) {
    lines.push(`  a restart is needed for: ${config.restart_needed.join(", ")}`);
  }
  lines.push(
    `sessions ${sessions.open} open, ${sessions.total} so far, ${sessions.per_second} a second`,
    `messages ${messages.total} so far, ${messages.per_second} a second${counts(messages.verdicts)}`,
  );
  if (status.pending_connections > 0) lines.push(`connections waiting ${status.pending_connections}`);
  lines.push(`workers ${workers.length}${counts(status.worker_deaths, "died: ")}`);
  for (const { pid, state, sessions: open, memory_mb, age_s } of workers) {
    lines.push(`  ${pid} ${state}, ${open} sessions, ${memory_mb} MB, ${age_s} s old`);
  }
  for (const script of status.scripts) lines.push(...scriptLines(script));
  for (const { script, callback, budget, count } of status.budgets_exceeded) {
    lines.push(`budget exceeded ${count} times: ${budget}, by ${callback} of ${script}`);
  }
  return `${lines.join("\n")}\n`;
}

function scriptLines(script: ScriptStatus): string[] {
  const { name, state, version, path, modified, callbacks, problem, last_error: last } = script;
  const lines = [`script ${name}: ${state}${version === "" ? "" : `, version ${version} of ${modified}`}`];
  // The shipped USER_REDIRECT.LUA lies elsewhere than the admin's scripts.
  if (version !== "") lines.push(`  file ${path}`);
  if (callbacks.length > 0) lines.push(`  callbacks ${callbacks.join(" ")}`);
  if (problem !== "")
    lines.push(`  ${state === "in service" ? "the file on disk is refused: " : ""}${problem}`);
  if (last !== undefined) {
    const kind = last.budget === "" ? last.kind : `${last.kind}:${last.budget}`;
    lines.push(`  last error ${last.time} in ${last.callback || "(top level)"} (${kind}): ${last.message}`);
  }
  return lines;
}

function counts(of: Readonly<Record<string, number>>, title = ""): string {
  const parts = Object.entries(of).map(([name, count]) => `${name} ${count}`);
  return parts.length === 0 ? "" : ` (${title}${parts.join(", ")})`;
}
