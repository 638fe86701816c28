/** What workers know of the store before any mail comes: whether it holds anything that matters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoredUses } from "../../src/serve/stored-uses.ts";
import { Place } from "../routing/place.ts";

test("uses follow what is stored", async () => {
  await using place = await Place.open();
  const { store } = place;
  const script = (name: string) => place.service.script(name);
  const changes = new EventTarget();
  const alive = setInterval(() => {}, 1_000);
  const uses = new StoredUses(store, () => changes.dispatchEvent(new Event("change")));
  try {
    const state = () => {
      const shipped = script("USER_REDIRECT.LUA");
      return {
        routing: uses.routing(shipped, false),
        own: uses.routing(shipped, true),
        signatures: uses.signatures,
      };
    };
    const until = async (wanted: ReturnType<typeof state>) => {
      for (;;) {
        const change = new Promise((resolve) => changes.addEventListener("change", resolve, { once: true }));
        if (JSON.stringify(state()) === JSON.stringify(wanted)) return;
        await change;
      }
    };
    assert.deepEqual(state(), { routing: true, own: true, signatures: true }, "nobody has looked yet");
    await uses.known;
    assert.deepEqual(state(), { routing: false, own: false, signatures: false });
    await place.user("joe", { Colour: "red" });
    await until({ routing: false, own: true, signatures: false });
    await store.setSetting("HTMLSignature", "<b>x</b>", { create: true });
    await until({ routing: false, own: true, signatures: true });
    await store.setUserSetting("joe", "forwards", "x@elsewhere.test", { create: true });
    await until({ routing: true, own: true, signatures: true });
    await store.removeUser("joe");
    await store.removeSetting("htmlsignature");
    await until({ routing: false, own: false, signatures: false });
  } finally {
    uses.close();
    clearInterval(alive);
  }
});
