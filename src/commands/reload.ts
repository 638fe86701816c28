/** `postlua reload`: the running service reads configuration and scripts again, and says what came of it. */
import type { ReloadReport } from "../serve/status.ts";
import { ask, ControlError, controlPlace } from "./control-client.ts";

/** Asks and prints. @returns exit code: 0 everything is in service, 1 something was refused or nobody answered */
export async function reload(configFile: string, json: boolean): Promise<number> {
  const { socket } = controlPlace(configFile);
  let report: ReloadReport;
  try {
    report = (await ask(socket, "POST", "/reload")) as ReloadReport;
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    process.stderr.write(`postlua: ${error.message}\n`);
    return 1;
  }
  process.stdout.write(json ? `${JSON.stringify(report, undefined, 2)}\n` : reloadText(report));
  const refused =
    report.config.outcome === "refused" || report.scripts.some(({ outcome }) => outcome === "refused");
  return refused ? 1 : 0;
}

/** The report for people. */
export function reloadText({ config, scripts }: ReloadReport): string {
  const lines = [...config.problems];
  if (config.outcome === "refused") lines.push("configuration refused, the last good one stays");
  else lines.push(`configuration ${config.outcome}${list(": ", config.applied)}`);
  if (config.restart.length > 0) lines.push(`restart needed for${list(" ", config.restart)}`);
  for (const { name, outcome, version, switched_off, problem } of scripts) {
    const stays =
      version === "" ? "" : `; version ${version} ${outcome === "loaded" ? "is in service" : "stays"}`;
    lines.push(`${name} ${outcome}${switched_off ? ", and it stays switched off" : stays}`);
    if (problem !== "") lines.push(`  ${problem}`);
  }
  return `${lines.join("\n")}\n`;
}

function list(before: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `${before}${names.join(", ")}`;
}
