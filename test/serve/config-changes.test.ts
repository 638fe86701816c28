import assert from "node:assert/strict";
import { test } from "node:test";
import { parameters } from "../../src/config/describe.ts";
import { type Config, parseConfig } from "../../src/config/load.ts";
import { configChanges, RESTART_KEYS, withoutRestart } from "../../src/serve/config-changes.ts";

const FACTS = {
  messageSizeLimit: 1000,
  myNetworks: [],
  defaultTransport: "smtp",
  ownTransports: ["local", "virtual", "relay", "error"],
  ownDomains: [],
  ownDomainsComplete: true,
  doubleBounceSender: "double-bounce",
  ehlo: { capabilities: [], discarded: [], asksSocketmap: false },
  showsNotices: true,
  problem: "",
};

function config(text: string, facts = FACTS): Config {
  const parsed = parseConfig(text, "test.toml");
  return { ...parsed, file: "test.toml", local_networks: parsed.local_networks ?? [], workers: 2, facts };
}

test("every parameter that needs a restart exists", () => {
  const names = parameters().map(({ name }) => name);
  for (const key of RESTART_KEYS) assert.ok(names.includes(key), key);
});

test("an unchanged file changes nothing", () => {
  const text = '[[clients]]\nnetwork = "192.0.2.0/24"\n[limits]\ncpu_ms = 7\n';
  assert.deepEqual(configChanges(config(text), config(text)), { applied: [], restart: [] });
});

test("changes are named by parameter, those for a restart apart", () => {
  const after = config(
    [
      'script_error = "reject"',
      'client_networks = ["192.0.2.0/24"]',
      '[milter]\nlisten = ["inet:1@127.0.0.1"]\nmax_packet = 5000',
      "[limits]\nwall_ms = 9\nworkers = 3",
      '[metrics]\nlisten = "inet:2@127.0.0.1"',
      '[dns]\nservers = ["127.0.0.1"]',
    ].join("\n"),
  );
  const { applied, restart } = configChanges(config(""), after);
  assert.deepEqual(applied.toSorted(), [
    "client_networks",
    "dns.servers",
    "limits.wall_ms",
    "milter.max_packet",
    "script_error",
  ]);
  assert.deepEqual(restart.toSorted(), ["limits.workers", "metrics.listen", "milter.listen"]);
});

test("other values of Postfix count as a change of the instance served", () => {
  const { applied } = configChanges(config(""), config("", { ...FACTS, messageSizeLimit: 2 }));
  assert.deepEqual(applied, ["postfix.config_dir"]);
});

test("what needs a restart keeps its old value, everything else is new", () => {
  const before = config('[milter]\nsocket_mode = "0600"\n[limits]\nworkers = 5\n');
  const after = config('script_error = "accept"\n[limits]\nworkers = 6\ncpu_ms = 3\n');
  const mixed = withoutRestart(before, after);
  assert.equal(mixed.script_error, "accept");
  assert.equal(mixed.limits.cpu_ms, 3);
  assert.equal(mixed.limits.workers, 5);
  assert.equal(mixed.milter.socket_mode, "0600");
  assert.equal(mixed.workers, 2);
  assert.equal(after.limits.workers, 6, "the argument is left alone");
});

test("several things that Postfix says anew are one parameter", () => {
  const after = config("", { ...FACTS, messageSizeLimit: 2000, defaultTransport: "relay" });
  assert.deepEqual(configChanges(config(""), after).applied, ["postfix.config_dir"]);
});
