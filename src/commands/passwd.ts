/**
 * `postlua passwd`: sets a user's password once the rules and
 * PASSWORDCHECK.LUA allow it. It comes from a terminal, twice, or from
 * standard input; it is stored as a hash and kept nowhere else.
 */
import { completeConfig } from "../config/load.ts";
import { hashPassword } from "../directory/password.ts";
import { DirectoryError, type Store } from "../directory/store.ts";
import { forbidCores } from "./core-limit.ts";
import { type Common, EX_USAGE, fail, findUser, show, withStore } from "./directory.ts";
import { type Judge, withJudge } from "./new-password.ts";
import { askPassword, PasswordInputError, readLines, readPassword } from "./password-input.ts";

export const EX_SOFTWARE = 70;
export const EX_OSERR = 71;

export interface PasswdOptions extends Common {
  readonly stdin: boolean;
  /** Lines USER:PASSWORD on standard input, as chpasswd(8) takes them. */
  readonly batch: boolean;
  /** Takes the password away. */
  readonly remove: boolean;
  readonly debug: boolean;
}

interface Outcome {
  readonly user: string;
  readonly changed: boolean;
  /** "" when changed. */
  readonly reason: string;
  readonly failed: boolean;
}

/** @returns exit code: 0 changed, 1 refused, 69 store, 70 the script failed, 71 cores cannot be forbidden */
export async function passwd(name: string | undefined, options: PasswdOptions): Promise<number> {
  if ((name === undefined) !== options.batch) {
    return fail("name the user, or give --batch and lines USER:PASSWORD", EX_USAGE);
  }
  if (name !== undefined && options.remove) return removePassword(name, options);
  const problem = forbidCores();
  if (problem !== undefined) return fail(`${problem}; no password is read`, EX_OSERR);
  try {
    return await withStore(options, async (store, file) => {
      const config = await completeConfig(file, options.config ?? "");
      return await withJudge(config, options.debug, async (judge) => {
        const { cost } = config.passwords;
        const set = (user: string, password: string) => setPassword(store, user, password, judge, cost);
        if (name === undefined) return await batch(options.json, set);
        const user = await findUser(store, name);
        const password = options.stdin ? await readPassword(process.stdin) : await askPassword();
        return tell(options.json, await set(user.name, password));
      });
    });
  } catch (error) {
    if (!(error instanceof PasswordInputError)) throw error;
    return fail(error.message);
  }
}

async function setPassword(
  store: Store,
  name: string,
  password: string,
  judge: Judge,
  cost: number,
): Promise<Outcome> {
  const user = (await findUser(store, name)).name;
  const { allowed, reason, failed } = await judge(user, password);
  if (allowed) await store.changeUser(user, { passwordHash: await hashPassword(password, cost) });
  return { user, changed: allowed, reason, failed };
}

function tell(json: boolean, { user, changed, reason, failed }: Outcome): number {
  if (json) show(true, { user, changed, reason }, "");
  else if (changed) show(false, undefined, `password of ${user} changed`);
  else fail(reason);
  if (changed) return 0;
  return failed ? EX_SOFTWARE : 1;
}

/** Each line for itself: one that is refused stops no other. */
async function batch(
  json: boolean,
  set: (user: string, password: string) => Promise<Outcome>,
): Promise<number> {
  const outcomes: (Outcome & { line: number })[] = [];
  for (const [n, text] of (await readLines(process.stdin)).entries()) {
    const at = text.indexOf(":");
    const user = at < 0 ? "" : text.slice(0, at);
    const outcome =
      user === ""
        ? refusal("", "This line is not USER:PASSWORD.")
        : await attempt(user, text.slice(at + 1), set);
    outcomes.push({ line: n + 1, ...outcome });
    if (!json && !outcome.changed) fail(`line ${n + 1}: ${user === "" ? "" : `${user}: `}${outcome.reason}`);
  }
  const changed = outcomes.filter((outcome) => outcome.changed).length;
  const rows = outcomes.map(({ line, user, changed, reason }) => ({ line, user, changed, reason }));
  show(json, rows, `passwords changed: ${changed}`);
  if (outcomes.some(({ failed }) => failed)) return EX_SOFTWARE;
  return changed === outcomes.length ? 0 : 1;
}

async function attempt(
  user: string,
  password: string,
  set: (user: string, password: string) => Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await set(user, password);
  } catch (error) {
    if (!(error instanceof DirectoryError)) throw error;
    return refusal(user, error.message);
  }
}

function refusal(user: string, reason: string): Outcome {
  return { user, changed: false, reason, failed: false };
}

function removePassword(name: string, options: PasswdOptions): Promise<number> {
  return withStore(options, async (store) => {
    const user = (await findUser(store, name)).name;
    await store.changeUser(user, { passwordHash: null });
    return show(options.json, { user, changed: true, reason: "" }, `password of ${user} removed`);
  });
}
