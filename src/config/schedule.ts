/** Cron expressions, in local time. Nothing here runs anything. */
import { Cron } from "croner";

/** What is wrong with a cron expression; undefined when it is one that comes due at all. */
export function scheduleProblem(text: string): string | undefined {
  try {
    const next = new Cron(text, { paused: true }).nextRun();
    return next === null ? "never comes due" : undefined;
  } catch (error) {
    return `must be a cron expression such as "*/5 * * * *": ${(error as Error).message}`;
  }
}

/** When a schedule comes due next after `time`; undefined when it never does. @throws Error for what scheduleProblem() names */
export function nextRun(schedule: string, time: Date): Date | undefined {
  return new Cron(schedule, { paused: true }).nextRun(time) ?? undefined;
}
