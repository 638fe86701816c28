/**
 * `postlua check`: are configuration and scripts fit for service, and what
 * will not have the effect that VPOP3 gave it?
 */
import { decodeText } from "../bytes.ts";
import type { Config } from "../config/load.ts";
import { createLog } from "../log.ts";
import { SMTPSVR, SMTPSVR_UNSERVED } from "../scripts/callbacks.ts";
import { loadScript } from "../scripts/loader.ts";
import { helperModules } from "../serve/helpers.ts";
import { budgetOf, createEngine, SMTPSVR_FILE } from "../serve/service.ts";

interface Finding {
  readonly level: "error" | "warning" | "note";
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** Checks and prints. @returns exit code: 0 no errors, 1 errors */
export async function check(config: Config, json: boolean): Promise<number> {
  const log = createLog({ level: "error", stream: process.stderr, text: true });
  const engine = createEngine(config, helperModules(config, log), { print: () => {}, error: () => {} });
  const findings: Finding[] = [];
  if (config.facts.problem !== "") {
    findings.push({ level: "warning", file: config.file, line: 0, text: config.facts.problem });
  }
  const names = [...Object.keys(SMTPSVR), ...Object.keys(SMTPSVR_UNSERVED)];
  const state = await loadScript(engine, config.scripts_dir, SMTPSVR_FILE, names, budgetOf(config.limits));
  const callbacks: { file: string; callback: string; signature: string }[] = [];
  if (state.kind === "broken") {
    const { message, details } = state.error;
    findings.push({ level: "error", file: SMTPSVR_FILE, line: details.line, text: decodeText(message) });
  } else if (state.kind === "absent") {
    findings.push({ level: "note", file: SMTPSVR_FILE, line: 0, text: `not in ${config.scripts_dir}` });
  } else {
    for (const callback of state.loaded.callbacks) {
      const declaration = SMTPSVR[callback];
      if (declaration === undefined) {
        const why = SMTPSVR_UNSERVED[callback] ?? "";
        findings.push({ level: "warning", file: SMTPSVR_FILE, line: 0, text: `${callback}: ${why}` });
        continue;
      }
      const results = declaration.results.length === 0 ? "" : ` -> ${declaration.results.join(", ")}`;
      callbacks.push({
        file: SMTPSVR_FILE,
        callback,
        signature: `${callback}(${declaration.parameters.join(", ")})${results}`,
      });
      if (declaration.limits !== "") {
        findings.push({
          level: "note",
          file: SMTPSVR_FILE,
          line: 0,
          text: `${callback}: ${declaration.limits}`,
        });
      }
    }
  }
  print({ config: config.file, callbacks, findings }, json);
  return findings.some(({ level }) => level === "error") ? 1 : 0;
}

interface Report {
  readonly config: string;
  readonly callbacks: readonly { readonly file: string; readonly signature: string }[];
  readonly findings: readonly Finding[];
}

function print(report: Report, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    return;
  }
  process.stdout.write(`configuration ${report.config}: fine\n`);
  for (const { file, signature } of report.callbacks) process.stdout.write(`${file}: ${signature}\n`);
  for (const { level, file, line, text } of report.findings) {
    process.stdout.write(`${file}${line > 0 ? `:${line}` : ""}: ${level}: ${text}\n`);
  }
}
