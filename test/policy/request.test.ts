/** The codec: whole sessions in one chunk and byte by byte, every limit at its edge, and random bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PolicyProtocolError } from "../../src/policy/errors.ts";
import {
  encodeRequest,
  type PolicyRequest,
  RequestDecoder,
  type RequestLimits,
} from "../../src/policy/request.ts";
import { SESSION, SESSION_311 } from "./requests.ts";

type Cut = (bytes: Buffer) => Buffer[];

const CUTS: Readonly<Record<string, Cut>> = {
  "in one chunk": (bytes) => [bytes],
  "byte by byte": (bytes) => Array.from(bytes, (byte) => Buffer.of(byte)),
};

function decode(bytes: Buffer, cut: Cut, limits: RequestLimits = {}): PolicyRequest[] {
  const decoder = new RequestDecoder(limits);
  const requests: PolicyRequest[] = [];
  for (const chunk of cut(bytes)) {
    decoder.push(chunk);
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) requests.push(next);
  }
  decoder.end();
  return requests;
}

const bytes = (text: string) => Buffer.from(text, "latin1");
const HEAD = "request=smtpd_access_policy\n";

for (const [name, cut] of Object.entries(CUTS)) {
  for (const [version, session] of [
    ["3.7", SESSION],
    ["3.11", SESSION_311],
  ] as const) {
    test(`a session's requests of Postfix ${version}, one after the other (${name})`, () => {
      const wire = Buffer.concat(session.map((attributes) => encodeRequest(attributes)));
      assert.deepEqual(
        decode(wire, cut).map((request) => [...request]),
        session,
      );
    });
  }

  test(`unknown attributes, empty values, = and bytes above 127 are kept (${name})`, () => {
    const [request] = decode(bytes(`${HEAD}new_one=a=b=\nempty=\nsender=\xe4@x\n\n`), cut);
    assert.deepEqual(
      [...(request ?? [])],
      [
        ["request", "smtpd_access_policy"],
        ["new_one", "a=b="],
        ["empty", ""],
        ["sender", "\xe4@x"],
      ],
    );
  });

  const wrong: [string, string, PolicyProtocolError["code"], number, RegExp, RequestLimits?][] = [
    ["no =", `${HEAD}nonsense\n\n`, "ERR_POLICY_LINE", 28, /"name=value" or an empty line expected/],
    ["no name", `${HEAD}=x\n\n`, "ERR_POLICY_LINE", 28, /expected, found "=x"/],
    ["a CR", `${HEAD}a=b\r\n\n`, "ERR_POLICY_VALUE", 31, /no CR expected/],
    ["a NUL", `${HEAD}a=\0\n\n`, "ERR_POLICY_VALUE", 30, /no NUL/],
    ["an empty request", "\n", "ERR_POLICY_EMPTY", 0, /found an empty line/],
    ["a second empty line", `${HEAD}\n\n`, "ERR_POLICY_EMPTY", 29, /expected/],
    [
      "another service",
      "request=junk\n\n",
      "ERR_POLICY_REQUEST",
      13,
      /smtpd_access_policy" expected, found "junk"/,
    ],
    ["none", "sender=a\n\n", "ERR_POLICY_REQUEST", 9, /found none/],
    ["a cut", `${HEAD}a=b\n`, "ERR_POLICY_TRUNCATED", 32, /found the end/],
    ["a cut line", "request=smtpd", "ERR_POLICY_TRUNCATED", 13, /found the end/],
    [
      "a long line",
      `${HEAD}a=${"x".repeat(31)}\n\n`,
      "ERR_POLICY_LINE_LIMIT",
      28,
      /at most 32/,
      { maxLine: 32 },
    ],
    ["a line without end", "x".repeat(33), "ERR_POLICY_LINE_LIMIT", 0, /at most 32/, { maxLine: 32 }],
    [
      "attributes",
      `${HEAD}a=1\nb=2\nc=3\n\n`,
      "ERR_POLICY_ATTRIBUTE_LIMIT",
      36,
      /at most 3/,
      { maxAttributes: 3 },
    ],
    [
      "bytes",
      `${HEAD}${"a=1234567\n".repeat(4)}\n`,
      "ERR_POLICY_REQUEST_LIMIT",
      58,
      /at most 60/,
      { maxRequest: 60 },
    ],
  ];
  for (const [what, text, code, offset, message, limits] of wrong) {
    test(`an error that says where and what was expected: ${what} (${name})`, () => {
      assert.throws(
        () => decode(bytes(text), cut, limits),
        (error: unknown) => {
          assert.ok(error instanceof PolicyProtocolError, String(error));
          assert.deepEqual([error.code, error.offset], [code, offset]);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test(`what is exactly at a limit passes (${name})`, () => {
    const limits = { maxLine: 32, maxAttributes: 2, maxRequest: 61 };
    assert.equal(decode(bytes(`${HEAD}a=${"x".repeat(30)}\n\n`.repeat(3)), cut, limits).length, 3);
  });
}

test("errors count bytes from the start of the stream, over requests", () => {
  const first = encodeRequest(SESSION[0] ?? []);
  assert.throws(
    () => decode(Buffer.concat([first, bytes("oops\n")]), CUTS["byte by byte"] as Cut),
    (error: PolicyProtocolError) => error.offset === first.length,
  );
});

test("names and values that would break the protocol are not sent", () => {
  for (const pair of [
    ["a=b", ""],
    ["", ""],
    ["a", "x\ny"],
    ["a", "\0"],
  ] as const) {
    assert.throws(() => encodeRequest([pair]), TypeError);
  }
});

/** A small generator (mulberry32), so that a seed means the same everywhere. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

test("mutated sessions: the same result whatever the cuts, and no error but the protocol's", () => {
  const rounds = process.env.POSTLUA_LONG === undefined ? 3_000 : 300_000;
  const first = Number(process.env.POSTLUA_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
  const limits = { maxLine: 200, maxAttributes: 34, maxRequest: 1_000 };
  for (let seed = first; seed < first + rounds; seed++) {
    const below = generator(seed);
    const wire = Buffer.concat(SESSION_311.slice(below(5)).map((attributes) => encodeRequest(attributes)));
    for (let n = below(4); n > 0; n--) {
      const at = below(wire.length);
      if (below(2) === 0) wire[at] = "\n\r\0=a\xff".charCodeAt(below(6));
      else wire.copyWithin(at, below(wire.length), below(wire.length));
    }
    const whole = wire.subarray(0, below(3) === 0 ? below(wire.length) : wire.length);
    const outcome = (cut: Cut) => {
      const seen: unknown[] = [];
      const decoder = new RequestDecoder(limits);
      try {
        for (const chunk of cut(whole)) {
          decoder.push(chunk);
          for (let next = decoder.next(); next !== undefined; next = decoder.next()) seen.push([...next]);
          assert.ok(
            decoder.pending <= 1_000 + 200 + chunk.length,
            `seed ${seed}: ${decoder.pending} bytes kept`,
          );
        }
        decoder.end();
      } catch (error) {
        assert.ok(error instanceof PolicyProtocolError, `seed ${seed}: ${error}`);
        seen.push(error.message);
      }
      return seen;
    };
    const pieces: Cut = (all) => {
      const chunks: Buffer[] = [];
      for (let at = 0; at < all.length; ) {
        const size = 1 + below(50);
        chunks.push(all.subarray(at, at + size));
        at += size;
      }
      return chunks;
    };
    assert.deepEqual(
      outcome(pieces),
      outcome((all) => [all]),
      `seed ${seed}`,
    );
  }
});
