/** Expansion compared with what a real Postfix does with mail to the same addresses. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before } from "node:test";
import { canonical, scan } from "../../src/directory/address.ts";
import { PostfixExpander } from "../../src/directory/expand.ts";
import { type ExpandedAddress, ExpansionError } from "../../src/directory/expander.ts";
import { Lookup } from "../../src/directory/lookup.ts";
import { SettingsReader } from "../../src/directory/postfix-settings.ts";
import { Postmap } from "../../src/directory/postmap.ts";
import { resolve } from "../../src/directory/resolve.ts";
import { Tables } from "../../src/directory/tables.ts";
import { ADDRESSES, type Deliveries, startWorld, type World } from "./expansion-cases.ts";
import { postfixTest } from "./harness.ts";

let world: World;
let expander: PostfixExpander;

if (process.getuid?.() === 0) {
  before(async () => {
    world = await startWorld();
    expander = new PostfixExpander({ store: world.store, configDir: world.postfix.configDirectory });
  });
  after(async () => {
    await expander.close();
    await world[Symbol.asyncDispose]();
  });
}

async function expanded(address: string): Promise<readonly ExpandedAddress[] | ExpansionError> {
  try {
    return await expander.expand(address);
  } catch (error) {
    if (error instanceof ExpansionError) return error;
    throw error;
  }
}

/** Where the two differ, in words. */
async function compare(real: Deliveries): Promise<string[]> {
  const ours = await expanded(real.address);
  const sent = [...new Set(real.sent)].sort();
  if (ours instanceof ExpansionError) {
    return sent.length === 0 && real.failed ? [] : [`${real.address}: ${ours.message}, but Postfix: ${sent}`];
  }
  const names = ours
    .filter(({ list }) => !list)
    .map(({ name, address, target }) => (target === undefined ? address : name))
    .sort();
  const same = JSON.stringify(names) === JSON.stringify(sent);
  return same
    ? []
    : [`${real.address}: ${names.join(" ") || "nobody"}, but Postfix: ${sent.join(" ") || "nobody"}`];
}

postfixTest("every address leads where Postfix delivers it", async () => {
  const real = await world.deliver(ADDRESSES);
  const served = real.filter(({ sent }) => sent.length > 0);
  assert.ok(
    ADDRESSES.length >= 110 && served.length >= 70,
    `${served.length} of ${ADDRESSES.length} got mail`,
  );
  const differences: string[] = [];
  for (const one of real) differences.push(...(await compare(one)));
  assert.deepEqual(differences, []);
});

async function shown(address: string): Promise<string[]> {
  return (await expander.expand(address)).map(({ name, user, list, remote, forwarded, address: to }) =>
    [
      name,
      to === name ? "" : `<${to}>`,
      user === undefined ? "" : "user",
      list ? "list" : "",
      remote ? "remote" : "",
      forwarded ? "forwarded" : "",
    ]
      .filter((word) => word !== "")
      .join(" "),
  );
}

postfixTest("rows say what the recipients are", async () => {
  assert.deepEqual(await shown("far@default.test"), ["far@default.test remote"]);
  assert.deepEqual(await shown("Far.Away@Default.Test"), [
    "Far.Away@Default.Test <far.away@default.test> remote",
  ]);
  assert.deepEqual(await shown("known@relay.test"), ["known@relay.test remote forwarded"]);
  assert.deepEqual(await shown("joe"), ["joe@example.test"]);
  assert.deepEqual(await shown("user@vmail.test"), ["user@vmail.test"]);
  // Another transport does not change the class.
  assert.deepEqual(await shown("x@deep.wild.test"), ["x@deep.wild.test remote"]);
  assert.deepEqual(await shown("unknown@valias.test"), []);
  assert.deepEqual(await shown("nosuchuser@example.test"), []);
  assert.deepEqual(await shown("absent@store.test"), []);
});

postfixTest("users and lists of the store are found again", async () => {
  assert.deepEqual(await shown("Second@Store.Test"), ["stored <stored@store.test> user"]);
  assert.deepEqual(await shown("stored+tag@store.test"), ["stored <stored+tag@store.test> user"]);
  assert.deepEqual(await shown("team@store.test"), [
    "team <team@store.test> list",
    "stored <stored@store.test> user",
    "far@default.test remote",
  ]);
  assert.deepEqual((await shown("everybody@store.test")).sort(), [
    "everybody <everybody@store.test> list",
    "far@default.test remote",
    "joe@example.test",
    "stored <stored@store.test> user",
    "team <team@store.test> list",
  ]);
});

postfixTest("local aliases with an owner or an included file are lists", async () => {
  assert.deepEqual(await shown("list@example.test"), [
    "list <list@example.test> list",
    "ann@example.test",
    "copy@default.test remote",
    "far@default.test remote",
    "bob@example.test",
  ]);
  assert.deepEqual(
    (await shown("withinclude@example.test"))[0],
    "withinclude <withinclude@example.test> list",
  );
  assert.deepEqual(await shown("staff@example.test"), ["joe@example.test", "ann@example.test"]);
  const [program] = await expander.expand("program@example.test");
  assert.equal(program?.name, "|exec /bin/cat > /dev/null");
  assert.equal(program?.target, "program");
  assert.deepEqual([program?.list, program?.remote], [false, false]);
});

/** What trivial-rewrite itself says: flags of the class, and the recipient. */
function resolvePrivately(address: string): Promise<{ flags: number; transport: string; recipient: string }> {
  return new Promise((answer, fail) => {
    const socket = connect(join(world.postfix.places.queue, "private/rewrite"));
    let text = "";
    socket.on("error", fail);
    socket.on("connect", () => socket.write(`request\0resolve\0sender\0\0address\0${address}\0\0`));
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      const reply = /(?:^|\0)transport\0([^\0]*)\0.*?\0recipient\0([^\0]*)\0(?:.*\0)?flags\0(\d+)\0/s.exec(
        text,
      );
      if (reply === null) return;
      socket.destroy();
      answer({ transport: reply[1]!, recipient: reply[2]!, flags: Number(reply[3]) });
    });
  });
}

const CLASS_FLAGS = { 256: "local", 512: "alias", 1024: "virtual", 2048: "relay", 4096: "default" } as const;

postfixTest("address classes and transports are those of trivial-rewrite", async () => {
  const { configDirectory: configDir } = world.postfix;
  const settings = await new SettingsReader(configDir).read();
  assert.ok(settings !== undefined);
  const tables = new Tables(new Postmap({ configDir }), settings);
  const differences: string[] = [];
  for (const typed of ADDRESSES) {
    const address = canonical(scan(typed), settings.rewrite);
    const lookup = new Lookup();
    const ours = await lookup.settle(() => resolve({ settings, tables }, lookup, address));
    // The first address may carry a value that says which protocol it speaks.
    const real = await resolvePrivately(address);
    const name = CLASS_FLAGS[(real.flags & 0x1f00) as keyof typeof CLASS_FLAGS];
    const malformed = (real.flags & 4) !== 0;
    const expected = malformed ? "malformed" : `${name} ${real.transport} ${real.recipient}`;
    const got = ours === undefined ? "malformed" : `${ours.class} ${ours.transport} ${ours.recipient}`;
    if (expected !== got) differences.push(`${typed}: ${got}, but Postfix: ${expected}`);
  }
  assert.deepEqual(differences, []);
});

postfixTest("other settings of main.cf make other answers, Postfix's ones", async () => {
  const changes: readonly (readonly [Record<string, string>, readonly string[]])[] = [
    [
      { recipient_delimiter: "", append_dot_mydomain: "yes", allow_percent_hack: "no", swap_bangpath: "no" },
      [
        "sub+other@default.test",
        "joe+tag@example.test",
        "joe@mx",
        "far%default.test@example.test",
        "far@default",
      ],
    ],
    [
      {
        recipient_delimiter: "+-",
        owner_request_special: "no",
        propagate_unmatched_extensions: "alias, include",
        append_at_myorigin: "no",
      },
      [
        "list-request@example.test",
        "sub-x@default.test",
        "one+tag@example.test",
        "ext+x@default.test",
        "ren+x@default.test",
        "withinclude+t@example.test",
      ],
    ],
    [
      {
        propagate_unmatched_extensions: "alias",
        append_at_myorigin: "yes",
        local_recipient_maps: "",
        luser_relay: "$user+lost@default.test",
      },
      [
        "nosuchuser@example.test",
        "nosuchuser+x@example.test",
        "one+tag@example.test",
        "withinclude+t@example.test",
        "tounknownlocal@default.test",
      ],
    ],
    [
      { luser_relay: "", fallback_transport: `smtp:[127.0.0.1]:${world.sink.port}` },
      ["nosuchuser@example.test", "joe@example.test", "nonuser@example.test"],
    ],
    [
      {
        fallback_transport: "",
        virtual_mailbox_maps: "",
        virtual_transport: `smtp:[127.0.0.1]:${world.sink.port}`,
        allow_mail_to_commands: "",
      },
      ["nobody@vmail.test", "program@example.test", "mixed@example.test"],
    ],
    [
      {
        mydestination: `$myhostname, !other.test, ${world.postfix.writeTable("mine", "example.test\n# x\nlocalhost\n")}`,
        canonical_classes: "header_recipient",
        relay_domains: `pcre:${world.postfix.writeTable("relaypcre", "/^r.*\\.test$/ x\n")}`,
        relay_recipient_maps: "",
      },
      [
        "joe@example.test",
        "old.name@example.test",
        "joe@renamed.test",
        "a@relay.test",
        "a@sub.relay.test",
        "joe@localhost",
      ],
    ],
  ];
  const differences: string[] = [];
  let served = 0;
  for (const [parameters, addresses] of changes) {
    await world.postfix.postconf(parameters);
    const real = await world.deliver(addresses);
    for (const one of real) differences.push(...(await compare(one)));
    served += real.filter(({ sent }) => sent.length > 0).length;
  }
  assert.ok(served >= 15, `${served} got mail`);
  assert.deepEqual(differences, []);
});

postfixTest("loops of virtual aliases are refused by Postfix and an error here", async () => {
  const [real] = await world.deliver(["circle1@default.test"]);
  assert.deepEqual([real?.sent, real?.failed], [[], true]);
  assert.match(String(await expanded("circle1@default.test")), /circle\d@default\.test leads in a circle/);
});
