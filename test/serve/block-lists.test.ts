/** Block lists as the configuration has them: a DNS server that is dead does not switch them off. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { DNS_TYPE } from "../../src/net/dns.ts";
import { blockLists } from "../../src/serve/block-lists.ts";
import { reply, startDns } from "../net/servers.ts";

test("the second DNS server answers within the time limit of a list", async () => {
  await using silent = await startDns(() => undefined);
  await using good = await startDns((request) =>
    request.name.startsWith("7.2.0.192.")
      ? reply(request, { answers: [{ type: DNS_TYPE.A, address: "127.0.0.2" }] })
      : reply(request, { rcode: 3 }),
  );
  const config = parseConfig(
    `[dns]\nservers = ["${silent.address}", "${good.address}"]\n[rbl]\ntimeout_ms = 1500\nwhitelist = ["10.*"]`,
    "test",
  );
  const problems: string[] = [];
  const note = (event: string) => void problems.push(event);
  const { lists, whitelist } = blockLists(config, { error: note, warn: note, info: note, debug: note });
  const { listed, failed } = await lists.check("192.0.2.7", ["a.test"], true);
  assert.deepEqual(listed, [{ list: "a.test", answers: ["127.0.0.2"] }]);
  assert.deepEqual([failed, problems], [[], []]);
  assert.ok(silent.requests.length > 0);
  assert.ok(whitelist.matches("10.1.2.3", ""));
});
