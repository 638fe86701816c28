/** Another process at the same store; says "ready" once it is open. `store-worker.ts CONFIG ACTION PREFIX` */
import { openStore } from "../../src/directory/open.ts";

const [config = "", action = "", prefix = ""] = process.argv.slice(2);
const store = await openStore(JSON.parse(config));
process.stdout.write("ready\n");
if (action === "add") {
  for (let n = 0; n < 40; n++) {
    await store.addUser({ name: `${prefix}${n}`, addresses: [`${prefix}${n}@example.com`] });
    const before = Number(await store.setting(prefix));
    await store.setSetting(prefix, String(before + 1));
  }
} else if (action === "remove") {
  for (const name of await store.userNames()) await store.removeUser(name);
} else if (action === "import") {
  // Until somebody kills it.
  for (let n = 0; ; n += 2_000) {
    await store.importUsers(
      Array.from({ length: 2_000 }, (_, i) => ({
        name: `${prefix}${n + i}`,
        addresses: [`${prefix}${n + i}@x.y`],
      })),
    );
    process.stdout.write(`${n + 2_000}\n`);
  }
}
await store.close();
