/**
 * The spam score that a filter before us has written into the header: rspamd's
 * `X-Spamd-Result: default: False [6.10 / 15.00]; ...`, SpamAssassin's
 * `X-Spam-Status: Yes, score=6.1 required=5.0 ...`, or a bare number as in
 * `X-Spam-Score: 6.1`. Never throws; what cannot be read is no score.
 */
import { unfold } from "./header-text.ts";
import type { HeaderFields } from "./headers.ts";

const NUMBER = "[+-]?\\d{1,6}(?:\\.\\d{1,9})?";
const FORMS = [
  new RegExp(`\\[\\s*(${NUMBER})\\s*/`),
  new RegExp(`\\b(?:score|hits)\\s*=\\s*(${NUMBER})`, "i"),
  new RegExp(`^\\s*(${NUMBER})(?![\\w.])`),
];

/**
 * The score in the first of the fields `names` that has one; undefined for none.
 * Of several fields of a name the highest counts: who forges one would want a lower.
 */
export function spamScore(headers: HeaderFields, names: readonly string[]): number | undefined {
  for (const name of names) {
    const scores = headers.all(name).flatMap(({ value }) => scoreIn(unfold(value)) ?? []);
    if (scores.length > 0) return Math.max(...scores);
  }
  return undefined;
}

function scoreIn(value: string): number | undefined {
  for (const form of FORMS) {
    const found = form.exec(value)?.[1];
    if (found !== undefined) return Number(found);
  }
  return undefined;
}
