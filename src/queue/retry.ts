/**
 * When a message is tried again and when it is given up: Postfix's own rules
 * (qmgr_active.c), applied to tries that were real. Pure; times are
 * milliseconds since 1970.
 *
 * A clock that was set back leaves times in the future behind: what lies
 * further ahead than the longest back-off counts as due.
 */
import type { QueueSettings } from "./postfix.ts";
import type { QueueFile } from "./queue-file.ts";

export interface RetryRules {
  readonly minimalMs: number;
  readonly maximalMs: number;
  /** Of mail from somebody, and of bounces. */
  readonly lifetimeMs: number;
  readonly bounceLifetimeMs: number;
  /** The last try comes this long before Postfix itself would give up. */
  readonly marginMs: number;
}

/** Never more of a lifetime than this goes to the margin. */
const MARGIN_SHARE = 1 / 4;

/** @param marginMs wanted, see RetryRules */
export function retryRules(settings: QueueSettings, marginMs: number): RetryRules {
  return {
    minimalMs: settings.minimalBackoffTime * 1_000,
    maximalMs: Math.max(settings.maximalBackoffTime, settings.minimalBackoffTime) * 1_000,
    lifetimeMs: settings.maximalQueueLifetime * 1_000,
    bounceLifetimeMs: settings.bounceQueueLifetime * 1_000,
    marginMs,
  };
}

type Aged = Pick<QueueFile, "createTime" | "sender">;

/** The time of the next try after one that failed at `tried`: as long again as the message is old, within limits. */
export function nextTry(message: Aged, tried: number, rules: RetryRules): number {
  const age = tried - message.createTime * 1_000;
  return tried + Math.min(Math.max(age, rules.minimalMs), rules.maximalMs);
}

/** Whether a try planned for `next` is due. */
export function isDue(next: number, now: number, rules: RetryRules): boolean {
  return next <= now || next > now + rules.maximalMs;
}

/** From when on a try is the last one. */
export function lastChance(message: Aged, rules: RetryRules): number {
  const lifetime = message.sender === "" ? rules.bounceLifetimeMs : rules.lifetimeMs;
  return message.createTime * 1_000 + lifetime - Math.min(rules.marginMs, lifetime * MARGIN_SHARE);
}
