/** `postlua reload`: the running service reads configuration and scripts again, and says what came of it. */
import type { ReloadReport } from "../serve/status.ts";
import { askAndPrint, controlPlace } from "./control-client.ts";

/** Asks and prints. @returns exit code: 0 everything is in service, 1 something was refused or nobody answered */
export async function reload(configFile: string, json: boolean): Promise<number> {
  const { socket } = controlPlace(configFile);
  const report = await askAndPrint(socket, ["POST", "/reload"], json, reloadText);
  if (report === undefined) return 1;
  const refused =
    report.config.outcome === "refused" || report.scripts.some(({ outcome }) => outcome === "refused");
  return refused ? 1 : 0;
}

/** The report for people. */
function reloadText({ config, scripts }: ReloadReport): string {
  const lines = [...config.problems];
  if (config.outcome === "refused") lines.push("configuration refused, the last good one stays");
  else lines.push(`configuration ${config.outcome}${list(": ", config.applied)}`);
  if (config.restart.length > 0) lines.push(`restart needed for${list(" ", config.restart)}`);
  for (const { name, outcome, version, switched_off, problem } of scripts) {
    const stays =
      version === "" ? "" : `; version ${version} ${outcome === "loaded" ? "is in service" : "stays"}`;
    lines.push(
      `${name} ${outcome === "missing" ? "absent" : outcome}${switched_off ? ", and it stays switched off" : stays}`,
    );
    if (problem !== "") lines.push(`  ${problem}`);
  }
  return `${lines.join("\n")}\n`;
}

function list(before: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `${before}${names.join(", ")}`;
}
