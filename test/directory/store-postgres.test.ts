/** What PostgreSQL alone can do to the store: go away, come back, fall silent, refuse. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openStore } from "../../src/directory/open.ts";
import { onPostgres, postgresServer, scratchDirectory, storeConfig } from "./backends.ts";

const unavailable = (words: RegExp) => (error: Error) => {
  assert.equal(error.name, "StoreUnavailable", String(error.stack));
  assert.match(error.message, words);
  assert.ok(!error.message.includes("secret"), error.message);
  return true;
};

onPostgres(
  "a restart in the middle is waited for; a longer absence is an error until the server is back",
  async () => {
    const server = await postgresServer();
    const config = storeConfig({
      database: await server.create("restarted"),
      password_file: server.passwordFile,
      timeout_ms: 20_000,
    });
    const store = await openStore(config);
    const impatient = await openStore({ ...config, timeout_ms: 300 });
    await store.setSetting("n", "0", { create: true });
    let told = 0;
    store.watch(() => told++);
    await server.stop();
    const waiting = [store.setting("n"), store.setSetting("n", "1"), store.userNames()];
    await assert.rejects(impatient.setting("n"), unavailable(/cannot be reached: nothing listens there/));
    await assert.rejects(impatient.setSetting("n", "2"), unavailable(/cannot be reached/));
    await server.start();
    assert.deepEqual((await Promise.all(waiting)).slice(1), [true, []]);
    assert.equal(await impatient.setting("n"), "1");
    // The listening connection comes back by itself: changes by others are heard again.
    const before = told;
    const heard = new Promise<void>((resolve) => store.watch(resolve));
    for (let n = 2; told === before; n++) {
      await impatient.setSetting("n", String(n));
      await Promise.race([heard, server.query("SELECT pg_sleep(0.05)")]);
    }
    await store.close();
    await impatient.close();
  },
);

onPostgres("a server that says nothing more is given up on within the time limit", async () => {
  const server = await postgresServer();
  const database = await server.create("silent");
  const store = await openStore(
    storeConfig({ database, password_file: server.passwordFile, timeout_ms: 300 }),
  );
  await store.setSetting("n", "0", { create: true });
  server.freeze(true);
  try {
    await assert.rejects(store.setting("n"), unavailable(/cannot be used|cannot be reached|took too long/));
    await assert.rejects(store.setSetting("n", "1"), unavailable(/cannot be/));
  } finally {
    server.freeze(false);
  }
  assert.equal(await store.setting("n"), "0");
  await store.close();
});

onPostgres("what refuses us is named, without the password", async () => {
  const server = await postgresServer();
  const database = await server.create("refusing");
  const good = storeConfig({ database, password_file: server.passwordFile, timeout_ms: 2_000 });
  const wrong = join(scratchDirectory(), "wrong-password");
  writeFileSync(wrong, "other-secret\n");
  await assert.rejects(openStore({ ...good, password_file: wrong }), unavailable(/refuses the password/));
  await assert.rejects(
    openStore({ ...good, password_file: "/nonexistent/file" }),
    unavailable(/store.password_file: \/nonexistent\/file cannot be read/),
  );
  await assert.rejects(openStore({ ...good, database: server.url("two") }), unavailable(/no such database/));
  await server.query("CREATE DATABASE others");
  await assert.rejects(
    openStore({ ...good, database: server.url("others") }),
    unavailable(/does not let that user do this/),
  );
  await assert.rejects(
    openStore({ ...good, database: "postgresql://postlua@127.0.0.1:1/one", timeout_ms: 100 }),
    unavailable(/nothing listens there/),
  );
  await assert.rejects(
    openStore({ ...good, database: "postgresql://postlua@x/one?host=/nonexistent", timeout_ms: 100 }),
    unavailable(/there is no such socket/),
  );
  const socket = `postgresql://postlua@x:${server.port}/refusing?host=${join(server.scratch.path, "socket")}`;
  const store = await openStore({ ...good, database: socket });
  assert.deepEqual(await store.userNames(), []);
  await store.close();
});

onPostgres("something that listens there and is no PostgreSQL", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as { port: number };
  silent.unref();
  const database = `postgresql://postlua@127.0.0.1:${port}/one`;
  await assert.rejects(openStore(storeConfig({ database, timeout_ms: 200 })), unavailable(/cannot be/));
  silent.close();
});
