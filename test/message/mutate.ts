/** Messages broken at random. */
import type { Random } from "./helper.ts";

export const TOKENS = [
  "\r\n",
  "\n",
  "\r",
  "--",
  "--b",
  "--b--",
  "\0",
  "\xff",
  ":",
  ";",
  "=",
  '"',
  " ",
  "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
  "Content-Type: message/rfc822\r\n\r\n",
  "\r\n\r\n",
  "\nbegin 644 x\r\n!80``\n",
  "\nend\n",
  '(This file must be converted\n:"QPZ,Q*TEJ"849K868&$33#3"3d!!!!!f+KSC@aXEj',
  "Content-Transfer-Encoding: x-uuencode\r\n",
  "Content-Type: application/mac-binhex40\r\n",
];

/** `bytes` with a few random changes. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  let out = bytes;
  for (let i = random(8); i >= 0; i--) {
    const at = random(out.length + 1);
    const token = Buffer.from(TOKENS[random(TOKENS.length)]!, "latin1");
    const other = random(out.length + 1);
    const kinds = [
      () => [out.subarray(0, at), token, out.subarray(at)],
      () => [out.subarray(0, at), out.subarray(at + random(40))],
      () => [out.subarray(0, at), Buffer.of(random(256)), out.subarray(at + 1)],
      () => [out.subarray(0, at), out.subarray(other, other + random(100)), out.subarray(at)],
      () => [out.subarray(0, at)],
    ];
    out = Buffer.concat(kinds[random(random(10) === 0 ? 5 : 4)]!());
  }
  return out;
}
