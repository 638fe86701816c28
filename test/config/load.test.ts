import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, loadConfig, parseConfig } from "../../src/config/load.ts";
import { inNetworks, networkSet } from "../../src/config/networks.ts";

function problems(text: string): readonly string[] {
  try {
    parseConfig(text, "postlua.toml");
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

const BAD: [name: string, text: string, expected: (string | RegExp)[]][] = [
  ["unknown key", "a = 1\n", ["postlua.toml:1: a: unknown key; see the parameter table in README.md"]],
  [
    "unknown key in a table, dotted",
    "[limits]\n\nfoo.bar = 2\n",
    ["postlua.toml:3: limits.foo: unknown key; see the parameter table in README.md"],
  ],
  ["not TOML", "x = [1,\n", [/^postlua\.toml:\d+: /]],
  ["wrong type", "[postfix]\nconfig_dir = 1\n", [/^postlua\.toml:2: postfix\.config_dir: .*string/]],
  [
    "relative directory",
    "scripts_dir = 'x'",
    ["postlua.toml:1: scripts_dir: must be an absolute path, such as /var/lib/postlua"],
  ],
  ["bad word", "script_error = 'drop'", [/^postlua\.toml:1: script_error: .*tempfail.*accept.*reject/]],
  [
    "listen address",
    "[milter]\nlisten = [\n'unix:/ok',\n'unix:rel']",
    [/^postlua\.toml:4: milter\.listen\.1: must look like/],
  ],
  [
    "port",
    "[milter]\nlisten = ['inet:65535@127.0.0.1',\n'inet:65536@127.0.0.1', 'inet:127.0.0.1:99999', 'inet6:99999@::1']",
    ["milter.listen.1", "milter.listen.2", "milter.listen.3"].map(
      (key) => `postlua.toml:3: ${key}: has a port above 65535`,
    ),
  ],
  ["empty listen", "[milter]\nlisten = []", [/^postlua\.toml:2: milter\.listen: needs at least one/]],
  [
    "socket mode",
    "[milter]\nsocket_mode = '888'",
    [/^postlua\.toml:2: milter\.socket_mode: must be an octal mode/],
  ],
  ["negative limit", "[limits]\ncpu_ms = -1", ["postlua.toml:2: limits.cpu_ms: must be greater than 0"]],
  [
    "fractional limit",
    "[limits]\ncpu_ms = 1.5",
    [/^postlua\.toml:2: limits\.cpu_ms: must be a whole number/],
  ],
  [
    "network",
    "client_networks = ['10.0.0.0/33']",
    [/^postlua\.toml:1: client_networks\.0: "10\.0\.0\.0\/33" is not/],
  ],
  [
    "block lists",
    "[rbl]\nservers = ['a.test', '192.0.2.1']\nwhitelist = ['192.0.2.*', 'a b']\naction = 'drop'\n[socketmap]\nlisten = ['x']",
    [
      'postlua.toml:2: rbl.servers.1: must be a domain, such as "zen.spamhaus.org"',
      /^postlua\.toml:3: rbl\.whitelist\.1: "a b" is not an address, a range, a name or a pattern/,
      /^postlua\.toml:4: rbl\.action: /,
      /^postlua\.toml:6: socketmap\.listen\.0: must look like/,
    ],
  ],
  [
    "client row in an array of tables",
    "[[clients]]\nnetwork = '10.0.0.0/8'\n[[clients]]\nnetwork = 'host'\n",
    [/^postlua\.toml:4: clients\.1\.network: "host" is not an address/],
  ],
  [
    "missing key is reported at its table",
    "\n[[clients]]\nallowed_users = 'a'\n",
    [/^postlua\.toml:2: clients\.0\.network: /],
  ],
  [
    "all problems, in the order of the file",
    "b = 1\n[limits]\ncpu_ms = 0\n[postfix]\nx = 1\n",
    [/:1: b: /, /:3: limits\.cpu_ms: /, /:5: postfix\.x: /],
  ],
];

for (const [name, text, expected] of BAD) {
  test(`refused: ${name}`, () => {
    const found = problems(text);
    assert.equal(found.length, expected.length, found.join("\n"));
    for (const [i, want] of expected.entries()) {
      if (typeof want === "string") assert.equal(found[i], want);
      else assert.match(found[i] ?? "", want);
    }
  });
}

test("an empty file gives every default", () => {
  const config = parseConfig("", "postlua.toml");
  assert.equal(config.script_error, "tempfail");
  assert.deepEqual(config.milter.listen, ["unix:/run/postlua/milter.sock"]);
  assert.equal(config.limits.cpu_ms, 2000);
  assert.deepEqual(config.clients, []);
});

test("a file that cannot be read is a configuration error", async () => {
  await assert.rejects(loadConfig("/nonexistent/postlua.toml"), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^\/nonexistent\/postlua\.toml: cannot be read \(ENOENT\)/);
    return true;
  });
});

test("networks hold IPv4, IPv6 and IPv4 inside IPv6, and nothing that is no address", () => {
  const set = networkSet(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]);
  const inside = ["192.0.2.255", "2001:db8:1::1", "198.51.100.7", "::ffff:192.0.2.1"];
  const outside = ["192.0.3.0", "2001:db9::1", "198.51.100.8", "unknown", "", "192.0.2.1/32"];
  for (const address of inside) assert.equal(inNetworks(set, address), true, address);
  for (const address of outside) assert.equal(inNetworks(set, address), false, address);
});

test("a byte order mark, as Windows editors write it, is no part of the first key", () => {
  assert.equal(parseConfig('\uFEFFlog_level = "debug"\r\n', "postlua.toml").log_level, "debug");
});
