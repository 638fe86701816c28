/** Several processes at one store: changes side by side, changes seen, and the end of one in the middle. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openStore } from "../../src/directory/open.ts";
import { onBoth, type StoreConfig, withStore } from "./backends.ts";

const WORKER = join(import.meta.dirname, "store-worker.ts");

function other(config: StoreConfig, action: string, prefix: string): ChildProcess {
  return spawn(process.execPath, [WORKER, JSON.stringify(config), action, prefix], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

onBoth("two processes change it side by side, and nothing is lost", (backend) =>
  withStore(backend, async (store, config) => {
    for (const name of ["a", "b", "c"]) await store.setSetting(name, "0", { create: true });
    const codes = await Promise.all(["a", "b", "c"].map((prefix) => ended(other(config, "add", prefix))));
    assert.deepEqual(codes, [0, 0, 0]);
    assert.equal((await store.userNames()).length, 120);
    assert.deepEqual([...(await store.settings()).values()], ["40", "40", "40"]);
  }),
);

onBoth("several processes may open an empty database at once", async (backend) => {
  const config = await backend.fresh();
  const children = [1, 2, 3].map(() => other(config, "", ""));
  assert.deepEqual(await Promise.all(children.map(ended)), [0, 0, 0]);
});

onBoth("one of two that want the same name gets it", (backend) =>
  withStore(backend, async (store, config) => {
    const second = await openStore(config);
    const user = { name: "joe", addresses: ["joe@example.com"] };
    const outcomes = await Promise.allSettled([
      store.addUser(user),
      second.addUser(user),
      store.addUser(user),
    ]);
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected", "rejected"]);
    await second.close();
  }),
);

onBoth("one's own change is noticed before it is answered", (backend) =>
  withStore(backend, async (store) => {
    let count = 0;
    const stop = store.watch(() => count++);
    await store.setSetting("x", "1", { create: true });
    assert.ok(count >= 1);
    stop();
    const quiet = count;
    await store.setSetting("x", "2");
    assert.equal(count, quiet, "who has stopped hears nothing");
  }),
);

onBoth("a change by another process is noticed", (backend) =>
  withStore(backend, async (store, config) => {
    await store.setSetting("p", "0", { create: true });
    const heard: string[] = [];
    const arrived = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no notice of the last change")), 30_000);
      const stop = store.watch(async () => {
        // As a cache does: told of a change, it reads; the last notice must come after the last change.
        heard.push((await store.setting("p")) ?? "");
        if (heard.at(-1) !== "40") return;
        clearTimeout(timer);
        stop();
        resolve();
      });
    });
    assert.equal(await ended(other(config, "add", "p")), 0);
    await arrived;
  }),
);

onBoth("a process killed in the middle leaves whole transactions", (backend) =>
  withStore(backend, async (store, config) => {
    const child = other(config, "import", "k");
    const lines: string[] = [];
    const output = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    for await (const line of output) {
      lines.push(line);
      if (lines.length === 4) child.kill("SIGKILL");
    }
    await ended(child);
    const count = (await store.userNames()).length;
    assert.equal(count % 2_000, 0);
    assert.ok(count >= Number(lines.at(-1)), `${count} users, ${lines.at(-1)} were told`);
    await store.addUser({ name: "next", addresses: [] });
  }),
);
