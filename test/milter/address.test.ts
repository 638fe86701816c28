import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress, parseAddress } from "../../src/milter/address.ts";

test("addresses as libmilter and as Postfix write them", () => {
  const unix = { kind: "unix", path: "/run/x y:z" };
  const inet = { kind: "inet", host: "127.0.0.1", port: 8891 };
  const inet6 = { kind: "inet6", host: "::1", port: 8891 };
  assert.deepEqual(parseAddress("unix:/run/x y:z"), unix);
  assert.deepEqual(parseAddress("local:/run/x y:z"), unix);
  assert.deepEqual(parseAddress("unix:relative"), { kind: "unix", path: "relative" });
  assert.deepEqual(parseAddress("inet:8891@127.0.0.1"), inet);
  assert.deepEqual(parseAddress("inet:127.0.0.1:8891"), inet);
  assert.deepEqual(parseAddress("inet:[127.0.0.1]:8891"), inet);
  assert.deepEqual(parseAddress("inet:0@localhost"), { kind: "inet", host: "localhost", port: 0 });
  assert.deepEqual(parseAddress("inet6:8891@::1"), inet6);
  assert.deepEqual(parseAddress("inet6:8891@[::1]"), inet6);
  assert.deepEqual(parseAddress("inet6:[::1]:8891"), inet6);
});

test("an address survives being written and read", () => {
  for (const text of ["unix:/run/x", "inet:8891@mx.test", "inet6:1@::1"]) {
    assert.equal(formatAddress(parseAddress(text)), text);
  }
});

test("what is no address says what was expected", () => {
  const wrong: readonly [string, RegExp][] = [
    ["", /unix:\/path, inet:port@host or inet6:port@host expected/],
    ["/run/x", /expected/],
    ["tcp:127.0.0.1:25", /expected/],
    ["unix:", /a path is missing/],
    ["unix:/a\0b", /a path is missing/],
    [`unix:/${"x".repeat(107)}`, /the path has 108 bytes, a unix socket's at most 107/],
    ["inet:8891", /inet:port@host expected/],
    ["inet:8891@", /inet:port@host expected/],
    ["inet:@host", /inet:port@host expected/],
    ["inet:host:port", /inet:port@host expected/],
    ["inet:::1:8891", /inet:port@host expected/],
    ["inet:65536@host", /a port from 0 to 65535 expected, got 65536/],
    ["inet6:x@::1", /inet6:port@host expected/],
  ];
  for (const [text, message] of wrong) {
    assert.throws(() => parseAddress(text), { name: "TypeError", message }, text);
  }
  assert.equal(parseAddress(`unix:/${"x".repeat(106)}`).kind, "unix");
});
