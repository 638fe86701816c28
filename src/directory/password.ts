/**
 * What a new password must be like whatever any script says, and its hash in
 * a form that Dovecot reads. Passwords are ordinary (Unicode) strings here.
 *
 * Nothing here writes anything anywhere; no message repeats the password.
 */
import { hash } from "bcryptjs";

/** bcrypt looks at no more of a password. */
export const MAX_BYTES = 72;

/**
 * Why this cannot be a password, as a sentence for the person; undefined when it can.
 * @param minLength in characters, which are Unicode code points: é is one, however many bytes it takes
 */
export function passwordProblem(password: string, minLength: number): string | undefined {
  if (password === "") return "The password is empty.";
  if (!password.isWellFormed()) return "The password is no valid Unicode text.";
  // No mail program could send it, and a line break is most likely a mistake.
  if (/\p{Cc}/u.test(password)) return "The password has a control character in it, such as a line break.";
  const length = [...password].length;
  if (length < minLength) {
    return `The password is too short: ${length} of at least ${minLength} characters.`;
  }
  const bytes = Buffer.byteLength(password);
  if (bytes > MAX_BYTES) {
    return `The password is too long: ${bytes} bytes, and all beyond ${MAX_BYTES} would not count.`;
  }
  return undefined;
}

/**
 * @param password one that passwordProblem has nothing against
 * @param cost two to this power rounds
 * @returns "{BLF-CRYPT}$2y$...", as `doveadm pw -s BLF-CRYPT` writes it
 */
export async function hashPassword(password: string, cost: number): Promise<string> {
  if (Buffer.byteLength(password) > MAX_BYTES) throw new Error("bcrypt would cut this password");
  // $2b$ and $2y$ are the same algorithm; every crypt(3) that knows one of them knows $2y$.
  return `{BLF-CRYPT}${(await hash(password, cost)).replace(/^\$2b\$/, "$2y$")}`;
}
