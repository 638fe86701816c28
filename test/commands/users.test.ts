/** `postlua user`, `setting` and `list`, as an admin starts them, on both databases. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { type Backend, onBoth } from "../directory/backends.ts";
import { Place } from "./place.ts";

async function placeOn(backend: Backend): Promise<Place> {
  const { database, password_file: file } = await backend.fresh();
  const password = file === undefined ? "" : `password_file = "${file}"`;
  return new Place({ store: `database = "${database}"\n${password}` });
}

const JOE = {
  name: "Joe",
  addresses: ["joe@example.com", "sales@example.com"],
  mailbox: "example.com/joe/",
  enabled: true,
  has_password: false,
};

onBoth("user: add, show, list, set, remove", async (backend) => {
  using place = await placeOn(backend);
  const added = await place.json("user", "add", "Joe", "--address", "Joe@Example.com", "sales@example.com");
  assert.deepEqual(added, JOE);
  assert.equal((await place.run(["user", "add", "ann", "--disabled", "--mailbox", "home/ann/"])).code, 0);
  const all = await place.run(["user", "list"]);
  assert.match(all.out, /^ann \(disabled, no password\)$/m);
  assert.match(all.out, /^Joe joe@example\.com sales@example\.com \(no password\)$/m);
  assert.equal(all.out.includes("\x1b"), false);

  const changed = (await place.json(
    ...["user", "set", "JOE", "--remove-address", "Sales@example.com", "--add-address", "j@example.com"],
    ...["--disable", "--setting", "Signature=Joe = me", "Empty="],
  )) as Record<string, unknown>;
  assert.deepEqual(changed.addresses, ["joe@example.com", "j@example.com"]);
  assert.deepEqual([changed.enabled, changed.settings], [false, { Empty: "", Signature: "Joe = me" }]);
  const unset = await place.json(
    "user",
    "set",
    "j@example.com",
    "--unset",
    "empty",
    "--enable",
    "--mailbox",
    "x/",
  );
  assert.deepEqual((unset as { settings: unknown }).settings, { Signature: "Joe = me" });
  const shown = await place.run(["user", "show", "j@EXAMPLE.com"]);
  assert.match(shown.out, /^mailbox {4}x\/\nenabled {4}yes\npassword {3}none/m);
  assert.match(shown.out, /^setting {4}Signature = Joe = me$/m);

  assert.deepEqual(await place.json("user", "remove", "joe"), { removed: "joe" });
  assert.deepEqual(await place.json("user", "list"), [
    { name: "ann", addresses: [], mailbox: "home/ann/", enabled: false, has_password: false },
  ]);
});

test("setting: get, set, list, remove, define; user show knows what is declared", async () => {
  using place = new Place();
  assert.deepEqual(await place.json("setting", "set", "Forward Spam", "no"), {
    name: "Forward Spam",
    value: "no",
  });
  const text = "grüße\nzwei\n";
  assert.equal((await place.run(["setting", "set", "Signature", "-"], `${text}\n`)).code, 0);
  assert.equal((await place.run(["setting", "get", "signature"])).out, `${text}\n`);
  assert.deepEqual(await place.json("setting", "list"), { "Forward Spam": "no", Signature: text });
  assert.match((await place.run(["setting", "list"])).out, /^Signature = "grüße\\nzwei\\n"$/m);
  assert.equal((await place.run(["setting", "remove", "SIGNATURE"])).code, 0);
  const gone = await place.run(["setting", "get", "Signature"]);
  assert.deepEqual([gone.code, gone.out, gone.err], [1, "", 'postlua: there is no setting "Signature"\n']);

  const field = { name: "SpamLimit", title: "Spam limit", type: "number", default: "5" };
  const define = ["setting", "define", "SpamLimit", "--title", "Spam limit", "--type", "number"];
  assert.deepEqual(await place.json(...define, "--default", "5"), field);
  assert.deepEqual(await place.json("setting", "list", "--declared"), [field]);
  await place.json("user", "add", "joe");
  const before = (await place.json("user", "show", "joe")) as { declared: unknown };
  assert.deepEqual(before.declared, [{ ...field, value: "5", set: false }]);
  const after = await place.json("user", "set", "joe", "--setting", "spamlimit=7");
  assert.deepEqual((after as { declared: unknown }).declared, [{ ...field, value: "7", set: true }]);
});

test("list: add, show, list, set, members, remove", async () => {
  using place = new Place();
  await place.json("user", "add", "joe", "--address", "joe@example.com");
  const staff = { name: "staff", address: "staff@example.com", members: ["joe", "x@example.org"] };
  const add = ["list", "add", "staff", "--address", "Staff@example.com", "--member", "joe", "X@example.org"];
  assert.deepEqual(await place.json(...add), staff);
  assert.deepEqual(await place.json("list", "show", "STAFF"), staff);
  assert.deepEqual(await place.json("list", "list"), [staff]);
  const more = await place.json("list", "add-member", "staff", "y@example.org", "z@example.org");
  assert.deepEqual((more as { members: unknown }).members, [
    ...staff.members,
    "y@example.org",
    "z@example.org",
  ]);
  const less = await place.json("list", "remove-member", "staff", "JOE", "z@example.org");
  assert.deepEqual((less as { members: unknown }).members, ["x@example.org", "y@example.org"]);
  assert.equal((await place.run(["list", "set", "staff", "--address", "all@example.com"])).code, 0);
  assert.equal(
    (await place.run(["list", "show", "staff"])).out,
    "name    staff\naddress all@example.com\nmember  x@example.org\nmember  y@example.org\n",
  );
  const stranger = await place.run(["list", "remove-member", "staff", "joe"]);
  assert.deepEqual([stranger.code, stranger.err], [1, 'postlua: "joe" is no member of the list staff\n']);
  assert.deepEqual(await place.json("list", "remove", "staff"), { removed: "staff" });
  assert.deepEqual(await place.json("list", "list"), []);
});

test("what cannot be done ends with 1 and a sentence that names it", async () => {
  using place = new Place();
  await place.json("user", "add", "joe", "--address", "joe@example.com");
  const cases: [string[], RegExp][] = [
    [["user", "add", "JOE"], /there is a user "JOE" already/],
    [["user", "add", "ann", "--address", "joe@example.com"], /joe@example\.com belongs to the user "joe"/],
    [["user", "add", "ann", "--address", "no-domain"], /"no-domain" is no full address/],
    [["user", "show", "nobody"], /there is no user "nobody"/],
    [["user", "set", "joe"], /nothing to change/],
    [["user", "set", "joe", "--remove-address", "x@example.com"], /x@example\.com is no address of/],
    [["user", "set", "joe", "--setting", "=x"], /NAME=VALUE/],
    [["user", "set", "joe", "--unset", "Nothing"], /no setting "Nothing"/],
    [["user", "remove", "joe@example.com"], /there is no user "joe@example\.com"/],
    [["setting", "remove", "x"], /there is no setting "x"/],
    [["list", "show", "x"], /there is no list "x"/],
    [["list", "set", "x"], /nothing to change/],
    [["list", "add", "joe", "--address", "list@example.com"], /there is a user "joe" already/],
    [["list", "add", "l", "--address", "l@example.com", "--member", "who"], /"who"/],
    [["passwd", "nobody", "--stdin"], /there is no user "nobody"/],
  ];
  const ran = await Promise.all(cases.map(([args]) => place.run(args)));
  for (const [n, { code, out, err }] of ran.entries()) {
    const [args, sentence] = cases[n]!;
    assert.equal(code, 1, args.join(" "));
    assert.equal(out, "");
    assert.match(err, /^postlua: /);
    assert.match(err, sentence);
  }
});

test("wrong usage ends with 64, a wrong configuration with 78", async () => {
  using place = new Place();
  for (const args of [
    ["user", "ad"],
    ["user", "add"],
    ["user", "set", "joe", "--enable", "--disable"],
    ["user", "import", "x", "--delimiter", "ab"],
    ["user", "import", "x", "--uids", "9-1"],
    ["list", "add", "x"],
    ["passwd", "joe", "--batch"],
    ["passwd"],
  ]) {
    assert.equal((await place.run(args)).code, 64, args.join(" "));
  }
  writeFileSync(place.config, "[passwords]\nmin_lenght = 9\n");
  const { code, err } = await place.run(["user", "list"]);
  assert.equal(code, 78);
  assert.match(err, /postlua\.toml:2: passwords\.min_lenght: unknown key/);
});

test("a store that cannot answer ends with 69, whatever the command", async () => {
  using place = new Place();
  await place.json("user", "add", "joe");
  const commands = [
    ["user", "list"],
    ["setting", "get", "x"],
    ["list", "list"],
    ["passwd", "joe", "--stdin"],
  ];
  const unavailable = async () => {
    for (const args of commands) {
      const { code, out, err } = await place.run(args, "a good password\n");
      assert.equal(code, 69, `${args.join(" ")}: ${err}`);
      assert.equal(out, "");
      assert.match(err, /postlua: .*postlua\.db/);
    }
  };
  writeFileSync(place.config, `store.timeout_ms = 100\nstore.database = "sqlite:${place.database}"\n`);
  {
    using other = new DatabaseSync(place.database);
    other.exec("BEGIN EXCLUSIVE");
    await unavailable();
  }
  writeFileSync(place.database, "no database at all ".repeat(500));
  await unavailable();
  writeFileSync(
    place.config,
    'store.database = "postgresql://postlua@127.0.0.1:1/x"\nstore.timeout_ms = 500\n',
  );
  assert.equal((await place.run(["user", "list"])).code, 69);
});
