/** `postlua user import`: CSV and passwd(5), good and bad, short and long. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { test } from "node:test";
import { csvUsers } from "../../src/commands/user-files.ts";
import { MAIN, Place, type Ran } from "./place.ts";

const ROWS = process.env.POSTLUA_LONG === undefined ? 10_000 : 100_000;
const HASH = "{BLF-CRYPT}$2y$10$abcdefghijklmnopqrstuuW3Zx0Wv1yqY1r1Ww6yN0e1x1x1x1x1x";

test("CSV: columns in any order, quotes, several addresses, a mark at the start, CRLF", async () => {
  using place = new Place();
  const file = place.write(
    "users.csv",
    `\ufeffAddresses, name ,enabled,password_hash,mailbox\r
"joe@example.com  j@example.com",joe,,${HASH},\r
\r
,"jürgen",no,,"home/a ""b""/"\r
`,
  );
  const added = await place.json("user", "import", file);
  assert.deepEqual(added, { added: 2, skipped: 0, dry_run: false, problems: [] });
  assert.deepEqual(await place.json("user", "list"), [
    {
      name: "joe",
      addresses: ["joe@example.com", "j@example.com"],
      mailbox: "example.com/joe/",
      enabled: true,
      has_password: true,
    },
    { name: "jürgen", addresses: [], mailbox: 'home/a "b"/', enabled: false, has_password: false },
  ]);
  const again = await place.run(["user", "import", file]);
  assert.equal(again.code, 1);
  assert.match(again.err, /users\.csv:2: the name joe is in use already\n/);
  assert.match(again.err, /postlua: nothing is added\n$/);
  const more = "name;addresses\njoe;\nann;ann@example.com\n";
  const skipping = ["user", "import", "-", "--skip-existing", "--delimiter", ";"];
  const rest = await place.run(skipping, more);
  assert.deepEqual([rest.code, rest.out], [0, "1 user added, 1 user there already\n"]);
});

test("every wrong row is named with its line, and nothing is added", async () => {
  using place = new Place();
  await place.json("list", "add", "staff", "--address", "staff@example.com");
  const file = place.write(
    "bad.csv",
    Buffer.from(
      [
        "name,addresses,enabled",
        "joe,joe@example.com,yes",
        "j o,,",
        "staff,,",
        "ann,joe@example.com,",
        'bob,"bob@example.com',
        'b@example.com",perhaps',
        "JOE,,",
        "cat,cat,",
        "dan,staff@example.com,",
        "j\xfcrgen,,",
        "",
      ].join("\n"),
      "latin1",
    ),
  );
  const { code, out, err } = await place.run(["user", "import", file, "--json"]);
  assert.equal(code, 1);
  const { problems, added } = JSON.parse(out) as { problems: string[]; added: number };
  assert.equal(added, 0);
  const lines = problems.map((problem) => problem.slice(file.length));
  const expected = [
    /^:3: the name of a user must not have a space in it: "j o"$/,
    /^:4: the name staff is in use already$/,
    /^:5: the address joe@example\.com is that of line 2, too$/,
    /^:7: enabled is yes or no, not "perhaps"$/,
    /^:8: the name JOE is that of line 2, too$/,
    /^:9: "cat" is no full address/,
    /^:10: the address staff@example\.com is in use already$/,
    /^:11: column name is not UTF-8$/,
  ];
  assert.equal(lines.length, expected.length, err);
  for (const [n, pattern] of expected.entries()) assert.match(lines[n]!, pattern);
  assert.equal(err, `${problems.join("\n")}\npostlua: nothing is added\n`);
  assert.deepEqual(await place.json("user", "list"), []);
});

test("files that are no such CSV are named with a line", async () => {
  const cases: [string | Buffer, RegExp][] = [
    ["", /^f:1: .*empty/],
    ["addresses\nx@example.com\n", /^f:1: there is no column "name"/],
    ["name,colour\njoe,red\n", /^f:1: unknown column "colour"/],
    [
      "name;addresses\njoe;j@x.test\n",
      /^f:1: unknown column "name;addresses"; .* --delimiter ";", perhaps$/m,
    ],
    ["name,password\njoe,secret\n", /^f:1: column "password": plain passwords are not taken/],
    ["name,name\na,b\n", /^f:1: column "name" is there twice/],
    ["name,addresses\njoe,\nann\n", /^f:3: this row has 1 fields/],
    ['name\n"joe\nann\n', /^f:\d: a quoted field is never closed/],
    ['name\njo"e\n', /^f:2: a quote stands/],
    ['name\n"jo"e\n', /^f:2: a quote stands/],
    [`name\n"${"x".repeat(100_000)}\n`, /^f:2: this row is longer than/],
  ];
  for (const [text, sentence] of cases) {
    const read = async () => {
      for await (const row of csvUsers(Readable.from([Buffer.from(text)]), "f", ",")) {
        if ("problem" in row) throw row.problem;
      }
    };
    await assert.rejects(read, (error: Error) => {
      assert.match(error.message, sentence);
      assert.equal(error.message.includes("secret"), false);
      return true;
    });
  }
});

test("a file that cannot be read ends with 2; a hash without its scheme is not repeated", async () => {
  using place = new Place();
  for (const file of [place.file("nothing"), place.scratch.path]) {
    const { code, err } = await place.run(["user", "import", file]);
    assert.deepEqual([code, err.includes(file)], [2, true]);
  }
  const file = place.write("hash.csv", "name,password_hash\njoe,secret\n");
  const { code, err } = await place.run(["user", "import", file]);
  assert.equal(code, 1);
  assert.match(err, /hash\.csv:2: a password hash must begin with its scheme/);
  assert.equal(err.includes("secret"), false);
});

test("standard input is checked as it comes; what was added before is said", async () => {
  using place = new Place();
  await place.json("user", "list");
  const rows = Array.from({ length: 2_500 }, (_, n) => `user${n}`);
  const { code, err } = await place.run(["user", "import", "-"], `name\n${rows.join("\n")}\nuser7\n`);
  assert.equal(code, 1);
  assert.equal(
    err,
    "(standard input):2502: the name user7 is that of line 9, too\npostlua: 2000 users were added before\n",
  );
});

const PASSWD = `root:x:0:0:root:/root:/bin/bash
# a comment

joe:x:1000:1000:Joe,,,:/home/joe:/bin/bash
backup:x:1001:1001::/nonexistent:/usr/sbin/nologin
ann:x:1002:1002::/home/ann:
off:x:1003:1003::/home/off:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
+@nis::::::
`;

test("/etc/passwd: people by user id, without those who cannot log in", async () => {
  using place = new Place();
  const file = place.write("passwd", PASSWD);
  const args = ["user", "import", file, "--passwd", "--domain", "example.com", "example.org"];
  assert.deepEqual(await place.json(...args, "--dry-run"), {
    added: 0,
    would_add: 2,
    skipped: 0,
    dry_run: true,
    problems: [],
  });
  assert.deepEqual(await place.json("user", "list"), []);
  assert.equal((await place.run(args)).out, "2 users added\n");
  const users = (await place.json("user", "list")) as { name: string; addresses: string[] }[];
  assert.deepEqual(
    users.map(({ name, addresses }) => [name, ...addresses]),
    [
      ["ann", "ann@example.com", "ann@example.org"],
      ["joe", "joe@example.com", "joe@example.org"],
    ],
  );
  const all = await place.run([...args, "--uids", "0-70000", "--skip-existing"]);
  assert.equal(all.out, "2 users added, 2 users there already\n");
  const broken = await place.run(["user", "import", "-", "--passwd"], "joe:x:1000\n");
  assert.deepEqual(
    [broken.code, broken.err.split("\n")[0]],
    [1, "(standard input):1: this row has 3 fields; rows of passwd(5) have 7"],
  );
});

/** The import on a terminal, whose words come back. */
function onTerminal(place: Place, file: string): Promise<Ran> {
  const command = [process.execPath, MAIN, "user", "import", file, "--config", place.config].join(" ");
  const child = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code: code ?? -1, out, err: "" })));
}

test(`${ROWS} users, with progress on a terminal`, async () => {
  using place = new Place();
  const file = place.file("many.csv");
  const stream = createWriteStream(file);
  stream.write("name,addresses,password_hash\n");
  for (let n = 0; n < ROWS; n++) {
    const address = `user${n}@d${n % 50}.example.com`;
    if (!stream.write(`user${n},${address} alias${n}@example.org,${HASH}\n`)) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "finish");
  const { code, out } = await onTerminal(place, file);
  assert.equal(code, 0, out);
  assert.match(out, /\d+ users (?:checked|added)/);
  assert.match(out, new RegExp(`${ROWS} users added\r?\n$`));
  const store = await place.open();
  try {
    assert.equal((await store.userNames()).length, ROWS);
    const last = await store.lookup(`alias${ROWS - 1}@example.org`);
    assert.equal(last?.kind === "user" && last.user.name, `user${ROWS - 1}`);
  } finally {
    await store.close();
  }
  const listed = (await place.json("user", "list")) as unknown[];
  assert.equal(listed.length, ROWS);
  const command = '"$0" "$@" | head -1';
  const list = [MAIN, "user", "list", "--config", place.config];
  const head = spawnSync("sh", ["-c", command, process.execPath, ...list], { encoding: "utf8" });
  assert.deepEqual([head.stdout, head.stderr], ["user0 user0@d0.example.com alias0@example.org\n", ""]);
});
