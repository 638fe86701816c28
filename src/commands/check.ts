/**
 * `postlua check`: are configuration and scripts fit for service, and what
 * will not have the effect that VPOP3 gave it?
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { decodeText } from "../bytes.ts";
import type { Config } from "../config/load.ts";
import { createLog } from "../log.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { ScriptError } from "../lua/errors.ts";
import { readSettings } from "../queue/postfix.ts";
import {
  CALLED_SCRIPTS,
  ERRORS_FILE,
  QUEUE_SCRIPTS,
  type ServedScript,
  SMTPSVR_FILE,
  UNSERVED_SCRIPTS,
  USER_REDIRECT,
  USER_REDIRECT_FILE,
} from "../scripts/callbacks.ts";
import {
  contradictions,
  definedFunctions,
  misspelt,
  misspeltGlobals,
  positiveReturns,
  readOnlyAssignments,
  tokens,
} from "../scripts/lint.ts";
import { findScript, loadScript, readScript, unreadableDirectory } from "../scripts/loader.ts";
import { redirectOwner, userScriptName } from "../scripts/redirect-trial.ts";
import { FACT_GLOBALS } from "../scripts/redirect-values.ts";
import { READ_ONLY_GLOBALS, WRITABLE_GLOBALS } from "../scripts/smtpsvr.ts";
import { userDirectories } from "../scripts/user-scripts.ts";
import { makeDirectory } from "../serve/directory.ts";
import { helperModules } from "../serve/helpers.ts";
import { budgetOf, createEngine } from "../serve/service.ts";
import { directoryProblem } from "../serve/start-problems.ts";
import { missingDoors } from "./check-doors.ts";
import { unservedByDoors, unservedScript } from "./check-policy.ts";

const NO_NOTICES =
  "Postfix shows its notices to no milter: set non_smtpd_milters and internal_mail_filter_classes (README.md)";

const NOT_PARKED = "Postfix sends outgoing mail without asking: set it up with `postlua queue install`";

interface Finding {
  readonly level: "error" | "warning" | "note";
  readonly file: string;
  /** 0 for the file as a whole. */
  readonly line: number;
  readonly text: string;
}

interface FoundCallback {
  readonly file: string;
  readonly line: number;
  readonly callback: string;
  readonly signature: string;
}

interface Report {
  readonly config: string;
  readonly callbacks: FoundCallback[];
  readonly findings: Finding[];
}

/** Checks and prints. @returns exit code: 0 no errors, 1 errors */
export async function check(config: Config, json: boolean): Promise<number> {
  const log = createLog({ level: "error", stream: process.stderr, text: true });
  const directory = makeDirectory(config, log);
  const engine = createEngine(config, helperModules(config, log, directory), {
    print: () => {},
    error: () => {},
  });
  const report: Report = { config: config.file, callbacks: [], findings: [] };
  if (config.facts.problem !== "") {
    report.findings.push({ level: "warning", file: config.file, line: 0, text: config.facts.problem });
  }
  const missing = directoryProblem(config);
  if (missing !== undefined) {
    const text = `postlua serve will not start: ${missing}`;
    report.findings.push({ level: "warning", file: config.file, line: 0, text });
  }
  const { scripts_dir } = config;
  const unreadable = unreadableDirectory(scripts_dir);
  if (unreadable !== undefined) {
    report.findings.push({ level: "error", file: config.file, line: 0, text: `scripts_dir ${unreadable}` });
  } else {
    for (const [name, served] of Object.entries(CALLED_SCRIPTS)) {
      await checkServed(engine, config, report, name, served);
    }
  }
  for (const [user, directory] of userDirectories(scripts_dir)) {
    const file = userScriptName(user);
    await checkServed(
      engine,
      config,
      report,
      file,
      { callbacks: USER_REDIRECT },
      { directory, name: USER_REDIRECT_FILE },
    );
  }
  checkOthers(engine, config, report);
  await directory.close();
  print(report, json);
  return report.findings.some(({ level }) => level === "error") ? 1 : 0;
}

async function checkServed(
  engine: LuaEngine,
  config: Config,
  report: Report,
  file: string,
  { callbacks, unserved = {} }: ServedScript,
  place = { directory: config.scripts_dir, name: file },
): Promise<void> {
  const names = [...Object.keys(callbacks), ...Object.keys(unserved)];
  const budget = budgetOf(config.limits);
  const state = await loadScript(engine, place.directory, file, names, budget, place.name);
  const add = (level: Finding["level"], line: number, text: string) => {
    report.findings.push({ level, file, line, text: decodeText(text) });
  };
  if (state.kind === "broken") return add("error", state.error.details.line, withoutPlace(file, state.error));
  if (state.kind === "absent") {
    if (file === SMTPSVR_FILE) add("note", 0, `not in ${config.scripts_dir}`);
    return;
  }
  const unservedHere = unservedScript(place.name, config);
  if (unservedHere !== undefined) add("warning", 0, unservedHere);
  else if (file === ERRORS_FILE && !config.facts.showsNotices) add("warning", 0, NO_NOTICES);
  else if (QUEUE_SCRIPTS[file] !== undefined && !(await parksMail(config))) add("warning", 0, NOT_PARKED);

  const source = readScript(state.loaded.script.path, file);
  if (source.length === 0) return add("warning", 0, "the file is empty; a running service refuses it, too");
  const { list } = tokens(source, config.lua_dialect);
  const functions = definedFunctions(list);
  /** What several callbacks have in common is said once. */
  const limited = new Map<string, { line: number; names: string[] }>();
  const lineOf = (name: string) => functions.findLast((defined) => defined.name === name)?.line ?? 0;
  for (const callback of state.loaded.callbacks) {
    const line = lineOf(callback);
    const declaration = callbacks[callback];
    if (declaration === undefined) {
      add("warning", line, `${callback}: ${unserved[callback]}`);
      continue;
    }
    const results = declaration.results.length === 0 ? "" : ` -> ${declaration.results.join(", ")}`;
    const signature = `${callback}(${declaration.parameters.join(", ")})${results}`;
    report.callbacks.push({ file, line, callback, signature });
    if (declaration.limits !== "") {
      const sharing = limited.get(declaration.limits);
      if (sharing === undefined) limited.set(declaration.limits, { line, names: [callback] });
      else sharing.names.push(callback);
    }
  }
  for (const [limits, { line, names: sharing }] of limited) {
    add("note", line, `${sharing.join(", ")}: ${limits}`);
  }
  // A user's own is a plain piece of Lua as a rule.
  if (state.loaded.callbacks.size === 0 && !redirectOwner(file)) {
    add("note", 0, withoutCallbacks(file, callbacks));
  }
  for (const { line, text } of misspelt(functions, names)) add("warning", line, text);
  if (file === SMTPSVR_FILE) {
    for (const { line, text } of readOnlyAssignments(list, READ_ONLY_GLOBALS)) add("warning", line, text);
    for (const { line, text } of positiveReturns(list)) add("warning", line, text);
    for (const { line, text } of misspeltGlobals(list, WRITABLE_GLOBALS)) add("warning", line, text);
    const doors = [...missingDoors(config, state.loaded), ...unservedByDoors(config, state.loaded)];
    for (const [callback, text] of doors) {
      add("warning", lineOf(callback), `${callback}: ${text}`);
    }
  }
  if (redirectOwner(file) !== undefined) {
    for (const { line, text } of readOnlyAssignments(list, FACT_GLOBALS)) add("warning", line, text);
  }
  for (const { line, text } of contradictions(source)) add("note", line, text);
}

/** Whether outgoing mail waits for the queue worker, as far as Postfix can be asked. */
async function parksMail({ postfix, facts }: Config): Promise<boolean> {
  if (facts.problem !== "") return true;
  const { deferTransports } = await readSettings({ configDirectory: postfix.config_dir });
  return deferTransports.length > 0;
}

function withoutCallbacks(file: string, callbacks: ServedScript["callbacks"]): string {
  if (redirectOwner(file) !== undefined) return "defines no callback; the whole of it runs for each user";
  return `defines no callback, so only its top level runs; there are ${Object.keys(callbacks).join(", ")}`;
}

/** Every other Lua file must compile; VPOP3's other scripts are named as not served. */
function checkOthers(engine: LuaEngine, config: Config, report: Report): void {
  let entries: string[] = [];
  try {
    entries = readdirSync(config.scripts_dir).filter((name) => /\.lua$/i.test(name));
  } catch {
    return; // checkServed has reported the directory.
  }
  for (const file of entries.sort()) {
    const name = file.toUpperCase();
    if (CALLED_SCRIPTS[name] !== undefined) {
      if (join(config.scripts_dir, file) !== findScript(config.scripts_dir, name)) {
        report.findings.push({
          level: "warning",
          file,
          line: 0,
          text: "not used: there is another spelling of this name",
        });
      }
      continue;
    }
    try {
      const path = join(config.scripts_dir, file);
      engine.compile(file, path, readScript(path, file));
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      const text = decodeText(withoutPlace(file, error));
      report.findings.push({ level: "error", file, line: error.details.line, text });
      continue;
    }
    if (UNSERVED_SCRIPTS.includes(name)) {
      report.findings.push({ level: "warning", file, line: 0, text: "this version does not call it" });
    }
  }
}

/** An error's text without the file and line that it begins with, which stand before it already. */
function withoutPlace(file: string, { message, details }: ScriptError): string {
  const place = `${file}:${details.line}: `;
  return message.startsWith(place) ? message.slice(place.length) : message;
}

function print(report: Report, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    return;
  }
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  const shades = { error: "\x1b[31m", warning: "\x1b[33m", note: "\x1b[2m" };
  const place = (file: string, line: number) => (line > 0 ? `${file}:${line}` : file);
  process.stdout.write(`configuration ${report.config}: fine\n`);
  for (const { file, line, signature } of report.callbacks) {
    process.stdout.write(`${place(file, line)}: callback ${signature}\n`);
  }
  for (const { level, file, line, text } of report.findings) {
    const word = colour ? `${shades[level]}${level}\x1b[0m` : level;
    process.stdout.write(`${place(file, line)}: ${word}: ${text}\n`);
  }
}
