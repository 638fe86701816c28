/**
 * Queue IDs: what one looks like, and in which subdirectory a hashed queue
 * keeps it. An ID that fails isQueueId never reaches a command line, a socket
 * or a path.
 *
 * Postfix writes two kinds (enable_long_queue_ids): short ones are five hex
 * digits of microseconds and the inode in hex, long ones are seconds,
 * microseconds (four digits), "z" and the inode in an alphabet without vowels.
 * Both kinds may lie in one queue after the setting was changed.
 */

/** Longer than any 64-bit clock and inode can make it. */
const MAX_LENGTH = 40;
const SHORT = /^[0-9A-F]{6,}$/;
const LONG = /^[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+$/;
const ALPHABET = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
const MICROSECOND_DIGITS = 4;

export function isQueueId(text: unknown): text is string {
  return typeof text === "string" && text.length <= MAX_LENGTH && (SHORT.test(text) || LONG.test(text));
}

/** Whether the ID can be given to another message later: short ones are, once their inode is free again. */
export function isReusedId(id: string): boolean {
  return !LONG.test(id);
}

/**
 * Where a message's file may lie below its queue, likeliest first: "8/8A2B..", "8A2B..", "8/A/8A2B..". The hash
 * digits are those of the microseconds in hex, for long IDs too.
 */
export function placesInQueue(id: string): readonly string[] {
  const digits = microsecondDigits(id);
  const one = `${digits[0]}/`;
  const two = `${one}${digits[1]}/`;
  return [
    `${one}${id}`,
    id,
    `${two}${id}`,
    `${two}${digits[2]}/${id}`,
    `${two}${digits[2]}/${digits[3]}/${id}`,
  ];
}

function microsecondDigits(id: string): string {
  if (!LONG.test(id)) return id.slice(0, 5);
  const end = id.lastIndexOf("z");
  let value = 0;
  for (const digit of id.slice(end - MICROSECOND_DIGITS, end)) {
    value = value * ALPHABET.length + ALPHABET.indexOf(digit);
  }
  return value.toString(16).toUpperCase().padStart(5, "0");
}
