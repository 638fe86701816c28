/**
 * What routing costs: a message to 100 users through a session whose store is
 * SQLite, with nothing to route, with settings, with a script for all users and
 * with users' own, each against the same message without routing; and a message
 * to one user.
 *
 *   node test/bench/routing.ts
 */
import { Place } from "../routing/place.ts";

const USERS = 100;
const ROUNDS = 20;

async function milliseconds(place: Place, recipients: number): Promise<number> {
  const to = Array.from({ length: recipients }, (_, n) => `<user${n}@users.test>`);
  const header = `Subject: x\r\n${"X-Field: some text of an ordinary length\r\n".repeat(25)}`;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const since = performance.now();
    const { verdict } = await place.send({ to, header });
    times.push(performance.now() - since);
    if (verdict.kind !== "continue") throw new Error(`the message was not accepted: ${verdict.kind}`);
  }
  return times.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

interface Setting {
  readonly what: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
}

const OWN = `if string.find(Sender, "@elsewhere") then Assistants = "helper@elsewhere.test" end`;
const SETTINGS: readonly Setting[] = [
  { what: "users without settings", scripts: {}, settings: {} },
  { what: "every user forwards", scripts: {}, settings: { Forwards: "away@elsewhere.test" } },
  {
    what: "a script for all users",
    scripts: { "USER_REDIRECT.LUA": `function MainDoRouting(user) ${OWN} end` },
    settings: {},
  },
  {
    what: "every user has a script",
    scripts: Object.fromEntries(
      Array.from({ length: USERS }, (_, n) => [`users/user${n}/USER_REDIRECT.LUA`, OWN]),
    ),
    settings: {},
  },
];

async function measure({ what, scripts, settings }: Setting): Promise<void> {
  await using place = await Place.open(scripts);
  place.keepsScripts = true;
  for (let n = 0; n < USERS; n++) await place.user(`user${n}`, settings);
  const line = [what.padEnd(26)];
  for (const recipients of [1, USERS]) {
    const routed = await milliseconds(place, recipients);
    place.routing = false;
    const plain = await milliseconds(place, recipients);
    place.routing = true;
    line.push(
      `${recipients} recipient${recipients === 1 ? "" : "s"} ${plain.toFixed(2)} ms without, ` +
        `${routed.toFixed(2)} ms with (${((routed - plain) / recipients).toFixed(3)} ms a user, ${(routed / plain).toFixed(1)}x)`,
    );
  }
  console.log(line.join("  "));
}

for (const setting of SETTINGS) await measure(setting);
