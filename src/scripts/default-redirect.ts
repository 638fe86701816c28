/** The USER_REDIRECT.LUA that is used where the scripts directory has none. */
import { join } from "node:path";
import type { LoadedScript } from "./loader.ts";

/** Where it lies. */
export const DEFAULT_DIR = join(import.meta.dirname, "default");

/** The settings without which it leaves everything as it is; lower case. */
export const USED_BY_DEFAULT: readonly string[] = ["timedrouting"];

export function isDefaultRedirect({ script }: LoadedScript): boolean {
  return script.path.startsWith(DEFAULT_DIR);
}
