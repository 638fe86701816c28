/**
 * ExpandAddress per second, with its answers there and without them, against
 * one bare `postmap -q` process each; alone, and from a script. Needs root and
 * Postfix, for a private configuration; no mail is sent.
 *
 *   node test/bench/expand.ts
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { installation } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { CONFIG } from "../../src/config/schema.ts";
import { PostfixExpander } from "../../src/directory/expand.ts";
import { openStore } from "../../src/directory/open.ts";
import { vpop3Module } from "../../src/helpers/vpop3.ts";
import { LuaEngine } from "../../src/lua/engine.ts";

const USERS = 20_000;
const COLD = 60;
const WARM = 20_000;

const postfix = PrivatePostfix.create();
await postfix.postconf({});
const table = async (name: string, text: string) => {
  const path = postfix.writeTable(name, text);
  await postfix.run("postmap", [`hash:${path}`]);
  return `hash:${path}`;
};
const users = Array.from({ length: USERS }, (_, n) => n);
const virtual = await table(
  "virtual",
  users.map((n) => `alias${n}@box.test user${n}@box.test, far${n}@far.test\n`).join("") +
    users
      .slice(0, 20)
      .map((n) => `deep${n}@box.test deep${n + 1}@box.test\n`)
      .join(""),
);
const boxes = await table("boxes", users.map((n) => `user${n}@box.test box${n}/\n`).join(""));
await postfix.postconf({
  virtual_alias_maps: virtual,
  virtual_mailbox_domains: "box.test",
  virtual_mailbox_maps: boxes,
  recipient_delimiter: "+",
});
const database = `sqlite:${join(postfix.scratch.path, "store.db")}`;
const store = await openStore(CONFIG.parse({ store: { database } }).store);
await store.importUsers(users.map((n) => ({ name: `user${n}`, addresses: [`user${n}@box.test`] })));
const configDir = postfix.configDirectory;
const fresh = () => new PostfixExpander({ store, configDir });

async function msEach(times: number, work: (n: number) => unknown): Promise<number> {
  const since = performance.now();
  for (let n = 0; n < times; n++) await work(n);
  return (performance.now() - since) / times;
}

const report = (what: string, ms: number) =>
  console.log(
    `${what}: ${(1000 / ms).toFixed(0)}/s, ${(ms / bare).toFixed(ms < bare / 10 ? 5 : 2)} of a bare postmap`,
  );

const postmap = join(installation().commands, "postmap");
const bare = await msEach(COLD, (n) =>
  execFileSync(postmap, ["-c", configDir, "-q", `alias${n}@box.test`, virtual]),
);
console.log(`one bare postmap -q: ${bare.toFixed(1)} ms`);

const expander = fresh();
await expander.expand("user0@box.test");
report("cold, an alias of two", await msEach(COLD, (n) => expander.expand(`alias${n}@box.test`)));
report(
  "warm, an alias of two, one of them a user of the store",
  await msEach(WARM, (n) => expander.expand(`alias${n % COLD}@box.test`)),
);
await expander.expand("far@far.test");
report("warm, a remote address", await msEach(WARM, () => expander.expand("far@far.test")));
const deep = fresh();
await deep.expand("user0@box.test");
report("cold, an alias 20 deep", await msEach(1, () => deep.expand("deep0@box.test")));
report("warm, an alias 20 deep", await msEach(WARM / 20, () => deep.expand("deep0@box.test")));
const many = fresh();
report(
  "cold, each of 5,000 aliases at once",
  (await msEach(1, () => Promise.all(users.slice(0, 5_000).map((n) => many.expand(`alias${n}@box.test`))))) /
    5_000,
);
console.log(`  in ${many.processes} processes`);

const engine = new LuaEngine({
  dialect: "5.0",
  dataDir: "/tmp",
  scriptsDir: "/tmp",
  modules: [vpop3Module({ store, expander })],
  print: () => {},
});
const calls = 1_000;
const source = `for i = 1, ${calls} do VPOP3.ExpandAddress("alias1@box.test", -1) end`;
const script = engine.compile("B.LUA", "/B.LUA", Buffer.from(source));
const limits = {
  instructions: 1e9,
  cpuMs: 1e6,
  wallMs: 1e6,
  stringBytes: 1e9,
  outputBytes: 1e6,
  openFiles: 1,
};
const env = engine.open(script, { context: {}, budget: limits });
report("warm, from a script", (await msEach(1, () => env.start())) / calls);
env.close();

for (const one of [expander, deep, many]) await one.close();
await store.close();
await postfix.remove();
