/** What expansion keeps, when it asks again, and what it says when tables cannot be asked. No Postfix runs here. */
import assert from "node:assert/strict";
import { chmodSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Parameters } from "../../postfix/layout.ts";
import { PrivatePostfix } from "../../postfix/private-instance.ts";
import { PostfixExpander } from "../../src/directory/expand.ts";
import { ExpansionError } from "../../src/directory/expander.ts";
import { LazyStore } from "../../src/directory/lazy-store.ts";
import { isSettled, stampOf } from "../../src/directory/lookup.ts";
import { openStore } from "../../src/directory/open.ts";
import type { PostmapOptions } from "../../src/directory/postmap.ts";
import { type Store, StoreUnavailable } from "../../src/directory/store.ts";
import { postfixTest } from "../postfix/harness.ts";
import { storeConfig } from "./backends.ts";

interface Place extends AsyncDisposable {
  readonly postfix: PrivatePostfix;
  readonly store: Store;
  readonly expander: PostfixExpander;
  /** Addresses of an expansion. */
  to(address: string): Promise<string>;
  /** Writes a hash table; returns "hash:FILE". */
  hash(name: string, text: string): Promise<string>;
  file(name: string): string;
}

async function place(
  parameters: (given: Pick<Place, "hash" | "file" | "postfix">) => Promise<Parameters> | Parameters,
  options: Partial<PostmapOptions> = {},
): Promise<Place> {
  const postfix = PrivatePostfix.create({ masterCf: { "local/unix": "- n n - - local" } });
  const file = (name: string) => join(postfix.scratch.path, name);
  const store = await openStore(storeConfig({ database: `sqlite:${file("store.db")}` }));
  await postfix.postconf({});
  const hash = async (name: string, text: string) => {
    const path = postfix.writeTable(name, text);
    await postfix.run("postmap", [`hash:${path}`]);
    return `hash:${path}`;
  };
  await postfix.postconf(await parameters({ hash, file, postfix }));
  const expander = new PostfixExpander({ store, configDir: postfix.configDirectory, ...options });
  return {
    postfix,
    store,
    expander,
    hash,
    file,
    to: async (address) => (await expander.expand(address)).map((row) => row.address).join(" "),
    async [Symbol.asyncDispose]() {
      await expander.close();
      await store.close();
      await postfix.remove();
    },
  };
}

const failure = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof ExpansionError, String(error));
    return error.message;
  }
  return "no error";
};

/** What comes from a file that was changed just now is not kept for long. */
async function settled({ postfix }: Awaited<ReturnType<typeof place>>): Promise<void> {
  const files = ["virtual.db", "main.cf"].map((name) => join(postfix.places.config, name));
  while (!isSettled(stampOf(files).newest)) await delay(5);
}

postfixTest("one process for each level of aliases, none when the answers are there", async () => {
  const chain = Array.from({ length: 20 }, (_, n) => `a${n}@x.test b${n}@x.test, a${n + 1}@x.test\n`).join(
    "",
  );
  await using here = await place(async ({ hash }) => ({ virtual_alias_maps: await hash("virtual", chain) }));
  await settled(here);
  assert.equal((await here.expander.expand("a0@x.test")).length, 21);
  const cold = here.expander.processes;
  assert.ok(cold <= 22, `${cold} processes for 20 levels`);
  assert.equal((await here.expander.expand("a0@x.test")).length, 21);
  assert.equal(await here.to("A20@x.test"), "a20@x.test");
  assert.equal(here.expander.processes, cold);
});

postfixTest("many expansions at once share their processes", async () => {
  await using here = await place(async ({ hash }) => ({
    virtual_alias_maps: await hash("virtual", "@x.test y@y.test\n"),
  }));
  await settled(here);
  await here.to("first@x.test");
  const before = here.expander.processes;
  const many = await Promise.all(Array.from({ length: 500 }, (_, n) => here.to(`u${n}@x.test`)));
  assert.ok(many.every((address) => address === "y@y.test"));
  assert.ok(here.expander.processes - before <= 4, `${here.expander.processes - before} processes`);
});

postfixTest("a changed table, also one that appears, counts for the next expansion", async () => {
  await using here = await place(({ postfix }) => ({
    virtual_alias_maps: `hash:${postfix.places.config}/virtual texthash:${postfix.places.config}/text`,
  }));
  here.postfix.writeTable("text", "c@x.test text@x.test\n");
  assert.match(await failure(here.to("a@x.test")), /virtual\.db: No such file/);
  await here.hash("virtual", "a@x.test one@x.test\n");
  assert.equal(await here.to("a@x.test"), "one@x.test");
  assert.equal(await here.to("b@x.test"), "b@x.test");
  await here.hash("virtual", "a@x.test two@x.test\nb@x.test three@x.test\n");
  assert.equal(await here.to("a@x.test"), "two@x.test");
  assert.equal(await here.to("b@x.test"), "three@x.test");
  assert.equal(await here.to("c@x.test"), "text@x.test");
  writeFileSync(here.file("new"), "c@x.test other@x.test\n");
  renameSync(here.file("new"), join(here.postfix.places.config, "text"));
  assert.equal(await here.to("c@x.test"), "other@x.test");
});

postfixTest("a changed main.cf counts for the next expansion", async () => {
  await using here = await place(() => ({ relay_domains: "relay.test" }));
  assert.equal((await here.expander.expand("a@relay.test"))[0]?.forwarded, true);
  await here.postfix.postconf({ relay_domains: "" });
  assert.equal((await here.expander.expand("a@relay.test"))[0]?.forwarded, false);
});

postfixTest("a changed :include: file counts; one that Postfix would not take is its error", async () => {
  await using here = await place(async ({ hash, file }) => ({
    alias_maps: await hash("aliases", `list :include:${file("members")}\n`),
    mailbox_transport: "smtp:",
  }));
  const members = here.file("members");
  const list = "list@example.test";
  assert.match(await failure(here.to(list)), /members: there is no such file/);
  writeFileSync(members, "joe\n");
  assert.equal(await here.to(list), `${list} joe@example.test`);
  writeFileSync(members, "joe, ann\n");
  assert.equal(await here.to(list), `${list} joe@example.test ann@example.test`);
  chmodSync(members, 0o666);
  assert.match(await failure(here.to(list)), /members: everybody may write to it/);
  rmSync(members);
  assert.match(await failure(here.to(list)), /members: there is no such file/);
});

postfixTest("tables that Postfix cannot use are named, with the reason", async () => {
  await using here = await place(() => ({}));
  const withMaps = async (maps: string) => {
    await here.postfix.postconf({ virtual_alias_maps: maps });
    return failure(here.to("a@x.test"));
  };
  assert.match(await withMaps("wonder:/x"), /^wonder:\/x: unsupported dictionary type: wonder/);
  assert.match(await withMaps("mysql:/x.cf"), /^mysql:\/x\.cf: unsupported dictionary type: mysql/);
  assert.match(
    await withMaps("sqlite:/nowhere.cf"),
    /^sqlite:\/nowhere\.cf: open \/nowhere\.cf: No such file/,
  );
  assert.match(await withMaps("fail:always"), /^fail:always: table fail:always: query error/);
  const broken = here.file("broken.db");
  writeFileSync(broken, "this is no database");
  const description = here.postfix.writeTable("broken.cf", `dbpath = ${broken}\nquery = SELECT a FROM b\n`);
  assert.match(await withMaps(`sqlite:${description}`), /broken\.cf: .*not a database/);
  const pairs = "{a@x.test = b@y.test}, {a@y.test = c@z.test}";
  assert.equal(await withMaps(`inline:{ ${pairs} }`), "no error");
  assert.equal(await here.to("a@x.test"), "b@y.test");
});

postfixTest("proxy: and combined tables are the tables behind them", async () => {
  await using here = await place(async ({ hash, postfix }) => {
    const users = await hash("users", "joe@x.test joe\n");
    const boxes = await hash("boxes", "joe joe@box.test\n");
    postfix.writeTable("pattern", "/^p(\\d)@/ pattern$1@y.test\n/^@x.test/ never@y.test\n");
    const pattern = `pcre:${postfix.places.config}/pattern`;
    const combined = `pipemap:{${users}, ${boxes}}`;
    return {
      virtual_alias_maps: `${combined}, proxy:${pattern}, unionmap:{proxy:${users},inline:{q@x.test=z@z.test}}`,
    };
  });
  assert.equal(await here.to("joe@x.test"), "joe@box.test");
  assert.equal(await here.to("q@x.test"), "z@z.test");
  assert.equal(await here.to("p1@x.test"), "pattern1@y.test");
});

postfixTest("without postmap or postconf, that is what the error says", async () => {
  await using here = await place(
    async ({ hash }) => ({ virtual_alias_maps: await hash("virtual", "a b\n") }),
    {
      program: "/nowhere/postmap",
    },
  );
  assert.match(await failure(here.to("a@x.test")), /\/nowhere\/postmap cannot be run \(ENOENT\); is Postfix/);
});

postfixTest("where no Postfix is configured, the store's users and lists are all there is", async () => {
  await using here = await place(() => ({}));
  await here.store.addUser({ name: "joe", addresses: ["joe@x.test", "j@x.test"] });
  await here.store.addList({
    name: "all",
    address: "all@x.test",
    members: ["joe@x.test", "far@y.test"],
  });
  const expander = new PostfixExpander({ store: here.store, configDir: here.file("nothing") });
  const rows = await expander.expand("All@X.test");
  assert.deepEqual(
    rows.map(({ name, address, user, list, remote }) => [name, address, user, list, remote]),
    [
      ["all", "all@x.test", undefined, true, false],
      ["joe", "joe@x.test", "joe", false, false],
      ["far@y.test", "far@y.test", undefined, false, true],
    ],
  );
  await expander.close();
});

postfixTest("what is no address leads nowhere", async () => {
  await using here = await place(async ({ hash }) => ({
    virtual_alias_maps: await hash("virtual", "@x.test joe@y.test\n"),
  }));
  const odd = [
    "",
    "@",
    "a@",
    "a@b@",
    "a\nb@x.test",
    "a\tb@x.test",
    "a\0@x.test",
    "@x.test",
    `${"a".repeat(1_000)}@x.test`,
    "a@-",
    "a@b..c",
    "a@[1.2.3",
  ];
  for (const address of odd) {
    const rows = await here.expander.expand(address);
    assert.ok(
      rows.length <= 1 && rows.every(({ address: to }) => !/[\s\0]/.test(to)),
      `${address}: ${rows[0]?.address}`,
    );
  }
  assert.equal(await here.to("a\nb@x.test"), "");
  assert.equal(await here.to("a@b..c"), "");
});

postfixTest("results beyond Postfix's limits are its errors", async () => {
  const many = Array.from({ length: 1_200 }, (_, n) => `u${n}@y.test`).join(",");
  const text = `many@x.test ${many}\nlong@x.test ${"l".repeat(1_200)}@y.test\nhuge@x.test ${"u@y.test, ".repeat(120_000)}\n`;
  await using here = await place(({ postfix }) => ({
    virtual_alias_maps: `texthash:${postfix.writeTable("virtual", text)}`,
  }));
  assert.match(await failure(here.to("many@x.test")), /expands into more than 1000 addresses/);
  assert.match(await failure(here.to("long@x.test")), /a result of more than 1000 bytes/);
  assert.match(await failure(here.to("huge@x.test")), /expands into more than 1000 addresses/);
  const small = new PostfixExpander({
    store: here.store,
    configDir: here.postfix.configDirectory,
    maxBytes: 100_000,
  });
  assert.match(await failure(small.expand("huge@x.test")), /the answer is longer than 100000 bytes/);
  await small.close();
});

/** A tcp: table that takes questions and never answers. */
async function silentTable(): Promise<{
  table: string;
  open: () => number;
  server: Server;
  close: () => void;
}> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.resume();
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { table: `tcp:127.0.0.1:${port}`, open: () => sockets.size, server, close };
}

postfixTest(
  "a table that does not answer costs its time limit, its processes are killed, and nobody else waits",
  async () => {
    const silent = await silentTable();
    try {
      await using here = await place(
        async ({ hash }) => ({
          virtual_alias_maps: await hash("virtual", "a@x.test b@y.test\n"),
          transport_maps: silent.table,
        }),
        { timeoutMs: 700 },
      );
      let turns = 0;
      const timer = setInterval(() => turns++, 10);
      const many = await Promise.all(
        Array.from({ length: 200 }, (_, n) => failure(here.to(`slow${n}@x.test`))),
      );
      clearInterval(timer);
      assert.match(many[0]!, /tcp:127\.0\.0\.1:\d+: no answer within 700 ms/);
      assert.ok(many.every((message) => message === many[0]));
      assert.ok(turns > 10, "the process did nothing else meanwhile");
      assert.ok(here.expander.processes <= 8, `${here.expander.processes} processes`);
      // The killed process's connection ends.
      while (silent.open() > 0) await new Promise((resolve) => setImmediate(resolve));
    } finally {
      silent.close();
    }
  },
);

postfixTest("who gives up does not wait for a table", async () => {
  const silent = await silentTable();
  try {
    await using here = await place(() => ({ virtual_alias_maps: silent.table }), { timeoutMs: 5_000 });
    const connected = new Promise((resolve) => silent.server.once("connection", resolve));
    const controller = new AbortController();
    const answer = failure(here.expander.expand("a@x.test", controller.signal));
    await connected;
    controller.abort();
    assert.equal(await answer, "given up");
  } finally {
    silent.close();
  }
});

postfixTest("a store that cannot answer is no empty answer", async () => {
  await using here = await place(async ({ hash }) => ({
    mailbox_transport: "smtp:",
    alias_maps: await hash("aliases", "a b\n"),
  }));
  const store = new LazyStore({
    name: "none",
    open: () => {
      throw new StoreUnavailable("none: cannot be opened");
    },
    problem: (sentence) => void problems.push(sentence),
  });
  const problems: string[] = [];
  const expander = new PostfixExpander({ store, configDir: here.postfix.configDirectory });
  await assert.rejects(expander.expand("joe@example.test"), StoreUnavailable);
  await assert.rejects(expander.expand("joe@example.test"), StoreUnavailable);
  assert.deepEqual(problems, ["none: cannot be opened"]);
  // Nobody has to be looked up for an address outside.
  assert.equal((await expander.expand("far@y.test"))[0]?.remote, true);
  await expander.close();
  await store.close();
});
