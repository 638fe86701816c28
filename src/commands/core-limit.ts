/**
 * No memory image of a process that knows a password: its core size limit
 * becomes 0, which its children inherit, and what a core would hold becomes
 * nothing, for systems that hand cores to a program whatever the limit.
 *
 * Node has no call for that; prlimit(1) of util-linux does it from outside.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** @returns why it could not be done, undefined when it is done */
export function forbidCores(): string | undefined {
  try {
    writeFileSync("/proc/self/coredump_filter", "0");
  } catch {
    // A kernel without it; the limit decides.
  }
  if (limit() === "0") return undefined;
  try {
    // PAM gives its programs no PATH.
    execFileSync("prlimit", ["--core=0:0", `--pid=${process.pid}`], { env: { PATH }, stdio: "ignore" });
  } catch (error) {
    const { code, status } = error as NodeJS.ErrnoException & { status?: number };
    return `prlimit cannot set the core size limit to 0 (${code ?? `exit code ${status}`})`;
  }
  return limit() === "0" ? undefined : "the core size limit is not 0, although prlimit has set it";
}

/** The soft limit as the kernel shows it. */
function limit(): string | undefined {
  try {
    return /^Max core file size\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  } catch {
    return undefined;
  }
}
