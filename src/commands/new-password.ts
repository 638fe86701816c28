/**
 * Whether a password may become a user's new one: the rules that always hold,
 * then PASSWORDCHECK.LUA. For `postlua passwd` and `postlua password-check`.
 *
 * Whatever goes wrong refuses. The person hears why as far as it is known;
 * the log hears which script, callback and line, and never the password.
 */
import { decodeText } from "../bytes.ts";
import type { Config } from "../config/load.ts";
import { passwordProblem } from "../directory/password.ts";
import { createLog } from "../log.ts";
import type { LuaEngine } from "../lua/engine.ts";
import { checkPassword } from "../scripts/passwordcheck.ts";
import { makeDirectory } from "../serve/directory.ts";
import { helperModules } from "../serve/helpers.ts";
import { budgetOf, createEngine } from "../serve/service.ts";
import { appendError } from "./error-log.ts";

export interface Judgement {
  readonly allowed: boolean;
  /** For the person, "" when allowed. */
  readonly reason: string;
  /** The password could not be checked: the script failed. */
  readonly failed: boolean;
}

export type Judge = (user: string, password: string) => Promise<Judgement>;

/**
 * Gives `work` a judge whose scripts have all helpers.
 * @param debug what the script prints, and its errors in full, go to standard error: for passwords that are none
 */
export async function withJudge<T>(
  config: Config,
  debug: boolean,
  work: (judge: Judge) => Promise<T>,
): Promise<T> {
  const log = createLog({ level: "error", stream: process.stderr, text: true });
  const directory = makeDirectory(config, log);
  try {
    const silent = { print: () => {}, error: () => {} };
    const engine = createEngine(config, helperModules(config, log, directory), silent);
    return await work((user, password) => judge(config, engine, user, password, debug));
  } finally {
    await directory.close();
  }
}

async function judge(
  config: Config,
  engine: LuaEngine,
  user: string,
  password: string,
  debug: boolean,
): Promise<Judgement> {
  const minLength = config.passwords.min_length;
  const problem = passwordProblem(password, minLength);
  if (problem !== undefined) return { allowed: false, reason: problem, failed: false };
  const answer = await checkPassword(
    { user, password, minLength },
    {
      engine,
      scriptsDir: config.scripts_dir,
      budget: budgetOf(config.limits),
      context: {},
      ...(debug ? { print: (text: string) => void process.stderr.write(decodeText(text)) } : {}),
    },
  );
  if (answer.kind === "allowed") return { allowed: true, reason: "", failed: false };
  if (answer.kind === "refused") {
    const reason = decodeText(answer.reason);
    return { allowed: false, reason: reason || "The password does not meet the rules.", failed: false };
  }
  const unwritten = appendError(config.log_dir, answer.told);
  const { message, details } = debug ? answer.error : answer.told;
  const traceback = debug && details.traceback !== "" ? `\n${details.traceback}` : "";
  process.stderr.write(decodeText(`postlua: ${message}${traceback}\n`));
  if (unwritten !== undefined) process.stderr.write(`postlua: ${unwritten}\n`);
  return {
    allowed: false,
    reason: "The password cannot be checked now, so it is refused; the administrator's logs say why.",
    failed: true,
  };
}
