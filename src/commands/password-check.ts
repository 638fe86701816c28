/**
 * `postlua password-check`: may this password on standard input become the
 * user's? For pam_exec (expose_authtok) and for web front ends. Changes
 * nothing, and asks for no such user: the accounts may be another system's.
 */
import type { Config } from "../config/load.ts";
import { forbidCores } from "./core-limit.ts";
import { EX_FAILED, EX_USAGE, fail } from "./directory.ts";
import { type Judgement, withJudge } from "./new-password.ts";
import { EX_OSERR, EX_SOFTWARE } from "./passwd.ts";
import { PasswordInputError, readPassword } from "./password-input.ts";

export interface PasswordCheckOptions {
  readonly json: boolean;
  readonly debug: boolean;
}

/**
 * The reason of a refusal goes to standard output, which pam_exec's option stdout shows to the person.
 * @param name default: PAM_USER
 * @returns exit code: 0 allowed, 1 refused, 64 called wrongly, 70 the script failed, 71 cores cannot be forbidden
 */
export async function passwordCheck(
  config: Config,
  name: string | undefined,
  { json, debug }: PasswordCheckOptions,
): Promise<number> {
  const { PAM_TYPE: type, PAM_USER: pamUser } = process.env;
  const user = name ?? pamUser ?? "";
  if (user === "") return fail("name the user; only pam_exec says it by PAM_USER", EX_USAGE);
  if (type !== undefined && type !== "password") {
    return fail(`pam_exec calls for ${type}; the line belongs to the type password`, EX_USAGE);
  }
  const problem = forbidCores();
  if (problem !== undefined) return fail(`${problem}; no password is read`, EX_OSERR);
  const { allowed, reason, failed } = await withJudge(config, debug, async (judge) => {
    try {
      const password = await readPassword(process.stdin);
      if (password === "" && type !== undefined) return refused(NOTHING_FROM_PAM);
      return await judge(user, password);
    } catch (error) {
      if (!(error instanceof PasswordInputError)) throw error;
      return refused(`The password cannot be read: ${error.message}.`);
    }
  });
  if (json) process.stdout.write(`${JSON.stringify({ user, allowed, reason })}\n`);
  else if (!allowed) process.stdout.write(`${reason}\n`);
  if (allowed) return 0;
  return failed ? EX_SOFTWARE : EX_FAILED;
}

/** Linux-PAM before 1.6 passes passwords on at logins only. */
const NOTHING_FROM_PAM =
  "No password came from PAM: pam_exec needs the option expose_authtok, Linux-PAM 1.6 or later, and a module before it that asks for the new password.";

function refused(reason: string): Judgement {
  return { allowed: false, reason, failed: false };
}
