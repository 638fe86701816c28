/** What a store promises (src/directory/store.ts), on SQLite and on PostgreSQL. */
import assert from "node:assert/strict";
import { openStore } from "../../src/directory/open.ts";
import { DirectoryError, type NewUser, type Store, type User } from "../../src/directory/store.ts";
import { onBoth, withStore } from "./backends.ts";

const LONG = process.env.POSTLUA_LONG !== undefined;

async function all(store: Store): Promise<User[]> {
  const users: User[] = [];
  for await (const user of store.users()) users.push(user);
  return users;
}

function refuses(work: Promise<unknown>, words: RegExp): Promise<void> {
  return assert.rejects(work, (error: Error) => {
    assert.ok(error instanceof DirectoryError, String(error));
    assert.match(error.message, words);
    return true;
  });
}

onBoth("users are added, changed, found by any case of their name, and removed", (backend) =>
  withStore(backend, async (store) => {
    assert.deepEqual(await store.userNames(), []);
    assert.equal(await store.user("joe"), undefined);
    await store.addUser({ name: "Joe", addresses: ["Joe@Example.COM", "j.b@example.com"] });
    await store.addUser({ name: "ann@example.com", addresses: [], mailbox: "a/", enabled: false });
    await store.addUser({ name: "Zoë", addresses: ["zoë@exämple.org"], passwordHash: "{PLAIN}x" });
    assert.deepEqual(await store.user("jOE"), {
      name: "Joe",
      addresses: ["joe@example.com", "j.b@example.com"],
      mailbox: "example.com/joe/",
      enabled: true,
      hasPassword: false,
    });
    assert.deepEqual(await store.userNames(), ["ann@example.com", "Joe", "Zoë"]);
    assert.deepEqual(
      (await all(store)).map(({ name }) => name),
      ["ann@example.com", "Joe", "Zoë"],
    );
    await store.changeUser("JOE", { addresses: ["j.b@example.com", "joe@example.com"], mailbox: "joe/" });
    assert.deepEqual((await store.user("joe"))?.addresses, ["j.b@example.com", "joe@example.com"]);
    assert.equal((await store.user("joe"))?.mailbox, "joe/");
    await store.changeUser("joe", { enabled: false, addresses: [] });
    assert.deepEqual((await store.user("joe"))?.addresses, []);
    assert.equal(await store.removeUser("JOE"), true);
    assert.equal(await store.removeUser("joe"), false);
    assert.deepEqual(await store.userNames(), ["ann@example.com", "Zoë"]);
  }),
);

onBoth("a password hash is given to nobody but passwordHash", (backend) =>
  withStore(backend, async (store) => {
    await store.addUser({ name: "joe", addresses: [] });
    assert.equal(await store.passwordHash("JOE"), "");
    assert.equal(await store.passwordHash("nobody"), undefined);
    await store.changeUser("joe", { passwordHash: "{BLF-CRYPT}$2y$05$abc" });
    assert.equal(await store.passwordHash("joe"), "{BLF-CRYPT}$2y$05$abc");
    assert.equal((await store.user("joe"))?.hasPassword, true);
    assert.ok(!JSON.stringify(await all(store)).includes("BLF"));
    await store.changeUser("joe", { enabled: false });
    assert.equal(await store.passwordHash("joe"), undefined);
    await store.changeUser("joe", { enabled: true, passwordHash: null });
    assert.equal(await store.passwordHash("joe"), "");
    const secret = store.changeUser("joe", { passwordHash: "hunter2" });
    await assert.rejects(secret, (error: Error) => !error.message.includes("hunter2"));
  }),
);

onBoth("settings are set where they exist, and made only on request", (backend) =>
  withStore(backend, async (store) => {
    assert.equal(await store.setting("SpamThreshold"), undefined);
    assert.equal(await store.setSetting("SpamThreshold", "5"), false);
    assert.equal(await store.setting("SpamThreshold"), undefined);
    assert.equal(await store.setSetting("SpamThreshold", "5", { create: true }), true);
    assert.equal(await store.setSetting("spamthreshold", "", { create: true }), true);
    assert.equal(await store.setting("SPAMTHRESHOLD"), "");
    const odd = "a'b\"c\\d\r\n\t%s $1 ? ü€😀\u2028";
    assert.equal(await store.setSetting("SpamThreshold", odd), true);
    assert.equal(await store.setSetting("Another one", "2", { create: true }), true);
    assert.deepEqual(
      [...(await store.settings())],
      [
        ["Another one", "2"],
        ["SpamThreshold", odd],
      ],
    );
    assert.equal(await store.removeSetting("spamTHRESHOLD"), true);
    assert.equal(await store.removeSetting("spamTHRESHOLD"), false);
  }),
);

onBoth("a user's settings are the user's own, and go with the user", (backend) =>
  withStore(backend, async (store) => {
    await store.addUser({ name: "joe", addresses: [] });
    await store.addUser({ name: "ann", addresses: [] });
    assert.equal(await store.setUserSetting("joe", "Forwards", "x"), false);
    assert.equal(await store.setUserSetting("Joe", "Forwards", "a@b.c", { create: true }), true);
    assert.equal(await store.setUserSetting("joe", "FORWARDS", "d@e.f"), true);
    assert.equal(await store.userSetting("JOE", "forwards"), "d@e.f");
    assert.equal(await store.userSetting("ann", "forwards"), undefined);
    assert.equal(await store.userSetting("nobody", "forwards"), undefined);
    assert.deepEqual([...(await store.userSettings("joe"))], [["Forwards", "d@e.f"]]);
    assert.deepEqual([...(await store.userSettings("nobody"))], []);
    assert.equal(await store.setUserSetting("nobody", "x", "y"), false);
    await refuses(store.setUserSetting("nobody", "x", "y", { create: true }), /there is no user "nobody"/);
    assert.equal(await store.removeUserSetting("joe", "forwards"), true);
    assert.equal(await store.removeUserSetting("joe", "forwards"), false);
    assert.equal(await store.removeUserSetting("nobody", "forwards"), false);
    await store.setUserSetting("ann", "Forwards", "x", { create: true });
    await store.removeUser("ann");
    await store.addUser({ name: "ann", addresses: [] });
    assert.deepEqual([...(await store.userSettings("ann"))], []);
  }),
);

onBoth("a later declaration takes the place of an earlier", (backend) =>
  withStore(backend, async (store) => {
    const b = { name: "B", title: "Bee", type: "string", fallback: "" };
    await store.define([b, { name: "a", title: "A", type: "number", fallback: "1" }]);
    await store.define([{ ...b, name: "b", type: "boolean" }]);
    assert.deepEqual(await store.definitions(), [
      { name: "a", title: "A", type: "number", fallback: "1" },
      { name: "b", title: "Bee", type: "boolean", fallback: "" },
    ]);
  }),
);

onBoth("lists hold users, lists and addresses; removing one takes its memberships away", (backend) =>
  withStore(backend, async (store) => {
    await store.addUser({ name: "Joe", addresses: ["joe@example.com"] });
    await store.addUser({ name: "ann", addresses: ["ann@example.com", "a@example.com"] });
    await store.addList({ name: "Inner", address: "Inner@example.com", members: [] });
    const members = ["joe", "a@example.com", "ANN", "inner", "Out@Example.org", "JOE"];
    await store.addList({ name: "All", address: "all@example.com", members });
    const list = await store.list("ALL");
    assert.equal(list?.address, "all@example.com");
    assert.deepEqual(
      list?.members.map((member) => member.toLowerCase()),
      ["joe", "a@example.com", "ann", "inner", "out@example.org"],
    );
    assert.deepEqual(
      (await store.lists()).map(({ name }) => name),
      ["All", "Inner"],
    );
    await store.removeUser("ann");
    await store.removeList("INNER");
    assert.deepEqual((await store.list("all"))?.members.length, 2);
    await store.changeList("all", { address: "everybody@example.com" });
    assert.equal(await store.lookup("all@example.com"), undefined);
    await store.changeList("ALL", { members: ["x@y.z"] });
    assert.deepEqual(await store.list("All"), {
      name: "All",
      address: "everybody@example.com",
      members: ["x@y.z"],
    });
    assert.equal(await store.list("none"), undefined);
    assert.equal(await store.removeList("none"), false);
  }),
);

onBoth("an address means a user, a list or nothing", (backend) =>
  withStore(backend, async (store) => {
    await store.addUser({ name: "joe", addresses: ["joe@example.com", "j@example.com"] });
    await store.addList({ name: "all", address: "all@example.com", members: ["joe"] });
    const meaning = await store.lookup("j@example.com");
    assert.equal(meaning?.kind === "user" && meaning.user.name, "joe");
    const list = await store.lookup("all@example.com");
    assert.deepEqual(list?.kind === "list" && list.list.members, ["joe"]);
    assert.equal(await store.lookup("joe+x@example.com"), undefined);
    assert.equal(await store.lookup("@example.com"), undefined);
    assert.equal(await store.lookup("joe"), undefined);
    await store.changeUser("joe", { enabled: false });
    assert.equal(await store.lookup("j@example.com"), undefined);
  }),
);

onBoth("what is taken stays with whoever has it, and a refused change changes nothing", (backend) =>
  withStore(backend, async (store) => {
    await store.addUser({ name: "joe", addresses: ["joe@example.com"] });
    await store.addList({ name: "all", address: "all@example.com", members: [] });
    await refuses(store.addUser({ name: "JOE", addresses: [] }), /there is a user "JOE" already/);
    await refuses(store.addUser({ name: "All", addresses: [] }), /there is a list "All" already/);
    await refuses(
      store.addList({ name: "Joe", address: "x@example.com", members: [] }),
      /user "Joe" already/,
    );
    const twice: NewUser = { name: "ann", addresses: ["ann@example.com", "All@example.com"] };
    await refuses(store.addUser(twice), /all@example.com belongs to the list "all"/);
    assert.equal(await store.user("ann"), undefined);
    const list = { name: "more", address: "joe@example.com", members: [] };
    await refuses(store.addList(list), /joe@example.com belongs to the user "joe"/);
    assert.equal(await store.list("more"), undefined);
    const mailbox: NewUser = { name: "ann", addresses: [], mailbox: "example.com/joe/" };
    await refuses(store.addUser(mailbox), /mailbox example.com\/joe\/ is that of the user "joe"/);
    await refuses(store.changeUser("joe", { addresses: ["j@example.com", "all@example.com"] }), /belongs/);
    assert.deepEqual((await store.user("joe"))?.addresses, ["joe@example.com"]);
    await store.changeUser("joe", {
      addresses: ["joe@example.com", "j@example.com"],
      mailbox: "example.com/joe/",
    });
    await refuses(store.changeUser("nobody", { enabled: true }), /there is no user "nobody"/);
    await refuses(store.changeList("nobody", { members: [] }), /there is no list "nobody"/);
  }),
);

onBoth("a list never comes to hold itself", (backend) =>
  withStore(backend, async (store) => {
    await store.addList({ name: "a", address: "a@example.com", members: [] });
    await store.addList({ name: "b", address: "b@example.com", members: ["a"] });
    await store.addList({ name: "c", address: "c@example.com", members: ["B@example.com"] });
    for (const members of [["a"], ["A@example.com"], ["x@y.z", "c"], ["c@example.com"]]) {
      await refuses(store.changeList("a", { members }), /would be a member of itself/);
    }
    await store.addList({ name: "d", address: "d@example.com", members: ["late@example.com"] });
    await store.changeList("a", { members: ["d"] });
    await refuses(store.changeList("d", { members: ["b"] }), /would be a member of itself/);
    await refuses(store.addList({ name: "e", address: "e@example.com", members: ["e"] }), /member of itself/);
    await refuses(
      store.addList({ name: "late", address: "late@example.com", members: ["a"] }),
      /would be a member of itself/,
    );
    assert.equal(await store.list("late"), undefined);
  }),
);

const BAD_NAMES = [
  "",
  " ",
  " joe",
  "joe ",
  "a b",
  "a\0b",
  "a\nb",
  "a,b",
  "a/b",
  "..",
  "-x",
  'a"b',
  "a:b",
  "\ud800",
  "x".repeat(256),
];
const BAD_ADDRESSES = [
  "",
  "joe",
  "@example.com",
  "joe@",
  "a b@c.d",
  "a@b c",
  "a@b@c",
  "a@b..c",
  "a@.b",
  "a@b-",
  "-a@b.c",
  "<a@b.c>",
  '"a b"@c.d',
  "a@[1.2.3.4]",
  "a\0@b.c",
  "a@b.c\n",
  "a,b@c.d",
  "../x@b.c",
  "..@b.c",
  `${"x".repeat(320)}@b.c`,
];
const BAD_MAILBOXES = ["", "/abs/", "../x/", "a/../b/", "a/./b", "a\0b/", "a\nb/", " a/"];
const BAD_HASHES = ["", "secret", "{PLAIN}", "{PLAIN}a b", "{}x", "{A B}x", "{PLAIN}a\nb"];

onBoth("bad names, addresses, mailboxes, hashes and texts are refused with a sentence", (backend) =>
  withStore(backend, async (store) => {
    const sentence = /^[^\n]{15,400}$/;
    for (const name of BAD_NAMES) {
      await refuses(store.addUser({ name, addresses: [] }), sentence);
      await refuses(store.addList({ name, address: "l@example.com", members: [] }), sentence);
    }
    await store.addUser({ name: "joe", addresses: [] });
    for (const address of BAD_ADDRESSES) {
      await refuses(store.addUser({ name: "x", addresses: [address] }), sentence);
      await refuses(store.changeUser("joe", { addresses: [address] }), sentence);
      await refuses(store.addList({ name: "l", address, members: [] }), sentence);
    }
    await refuses(store.addUser({ name: "x", addresses: ["a@b.c", "A@B.C"] }), /given twice/);
    for (const mailbox of BAD_MAILBOXES) {
      await refuses(store.addUser({ name: "x", addresses: [], mailbox }), sentence);
    }
    for (const passwordHash of BAD_HASHES) {
      await refuses(store.addUser({ name: "x", addresses: [], passwordHash }), sentence);
    }
    for (const member of ["nobody", "", "a@", "x y@b.c"]) {
      await refuses(store.addList({ name: "l", address: "l@b.c", members: [member] }), sentence);
    }
    for (const value of ["a\0b", "\udc00", "x".repeat((1 << 20) + 1)]) {
      await refuses(store.setSetting("x", value, { create: true }), sentence);
      await refuses(store.setUserSetting("joe", "x", value, { create: true }), sentence);
    }
    for (const name of ["", "a\0", "a\nb", " a", "x".repeat(256)]) {
      await refuses(store.setSetting(name, "", { create: true }), sentence);
    }
    assert.deepEqual(await store.userNames(), ["joe"]);
    assert.deepEqual(await store.lists(), []);
    assert.equal(await store.user("a'; DROP TABLE users; --"), undefined);
    assert.equal(await store.lookup("' OR ''='"), undefined);
  }),
);

onBoth("what is asked with a NUL character or broken Unicode in it is simply not there", (backend) =>
  withStore(backend, async (store) => {
    for (const name of ["a\0b", "\ud800", ""]) {
      assert.equal(await store.user(name), undefined);
      assert.equal(await store.setting(name), undefined);
      assert.equal(await store.lookup(name), undefined);
      assert.equal(await store.userSetting(name, name), undefined);
      assert.equal(await store.list(name), undefined);
      assert.equal(await store.removeUser(name), false);
    }
  }),
);

onBoth("an import goes on in transactions, and stops at the first that cannot be added", (backend) =>
  withStore(backend, async (store) => {
    function* users(prefix: string, bad: number): Iterable<NewUser> {
      for (let n = 0; n < 5_000; n++) {
        const name = n === bad ? `${prefix}-7` : `${prefix}-${n}`;
        yield { name, addresses: [`${prefix}-${n}@example.com`, `${prefix}${n}@example.com`] };
      }
    }
    const seen: number[] = [];
    const progress = (done: number) => seen.push(done);
    await refuses(store.importUsers(users("a", 2_100), progress), /there is a user "a-7" already/);
    assert.deepEqual(seen, [2_000]);
    assert.equal((await store.userNames()).length, 2_000);
    assert.equal(await store.importUsers(users("b", -1), progress), 5_000);
    assert.deepEqual(seen, [2_000, 2_000, 4_000, 5_000]);
    assert.equal((await all(store)).length, 7_000);
    const last = await store.lookup("b4999@example.com");
    assert.equal(last?.kind === "user" && last.user.name, "b-4999");
    const bad: NewUser[] = [
      { name: "fine", addresses: [] },
      { name: "a b", addresses: [] },
    ];
    await refuses(store.importUsers(bad), /a space/);
    assert.equal(await store.user("fine"), undefined);
  }),
);

onBoth("100,000 users", async (backend, context) => {
  if (!LONG) {
    context.skip("long form only");
    return;
  }
  await withStore(backend, async (store) => {
    async function* users(): AsyncIterable<NewUser> {
      for (let n = 0; n < 100_000; n++) yield { name: `user-${n}`, addresses: [`user-${n}@example.com`] };
    }
    assert.equal(await store.importUsers(users()), 100_000);
    assert.equal((await all(store)).length, 100_000);
  });
});

onBoth("an open store is seen by another, and a closed one answers no more", (backend) =>
  withStore(backend, async (store, config) => {
    const other = await openStore(config);
    await other.addUser({ name: "joe", addresses: [] });
    assert.equal((await store.user("joe"))?.name, "joe");
    assert.equal(other.name, config.database);
    await other.close();
    await other.close();
    await assert.rejects(other.user("joe"), { name: "StoreUnavailable", message: /closed/ });
  }),
);
