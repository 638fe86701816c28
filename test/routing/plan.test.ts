/**
 * Plans for recipients, checked against what an MTA makes of them: whatever the
 * aliases, nobody who keeps the message loses it, nobody who gave it away gets
 * it without a warning, and nobody is added who gets it anyway.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  breakCircles,
  type Leaf,
  planRecipients,
  type Recipient,
  type UserRoute,
} from "../../src/smtp/route-plan.ts";

const CASES = process.env.POSTLUA_LONG === undefined ? 3_000 : 100_000;

/** Numbers from 0 up to, but not including, `below`; always the same ones. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Aliases as a virtual alias table has them: expanded until nothing changes, or to themselves. */
class Table {
  readonly aliases = new Map<string, readonly string[]>();

  leaves(address: string, seen: readonly string[] = []): Leaf[] {
    const to = this.aliases.get(address);
    if (to === undefined || seen.includes(address)) return [leaf(address)];
    const found = new Map<string, Leaf>();
    for (const next of to) {
      for (const one of next === address ? [leaf(address)] : this.leaves(next, [...seen, address])) {
        found.set(one.address, one);
      }
    }
    return [...found.values()];
  }

  readonly expand = async (address: string) => this.leaves(address);
}

function leaf(address: string): Leaf {
  return { address, user: address.startsWith("u") ? address.slice(0, address.indexOf("@")) : undefined };
}

async function playCase(seed: number): Promise<void> {
  const pick = random(seed);
  const table = new Table();
  const users = Array.from({ length: 5 }, (_, n) => `u${n}@x.test`);
  const others = ["o1@y.test", "o2@y.test"];
  const names = ["a0@x.test", "a1@x.test", "a2@x.test", "a3@x.test"];
  const some = (from: readonly string[], most: number) =>
    Array.from({ length: 1 + pick(most) }, () => from[pick(from.length)]!);
  // An alias leads to later ones only: circles among aliases are errors that never come this far.
  for (const [n, name] of names.entries()) {
    table.aliases.set(name, [...new Set(some([...users, ...others, ...names.slice(n + 1)], 3))]);
  }
  if (pick(4) === 0)
    table.aliases.set("u0@x.test", ["u0@x.test", some([...users.slice(1), ...others], 1)[0]!]);
  const everything = [...users, ...others, ...names];
  const recipients: Recipient[] = [...new Set(some(everything, 4))].map((address) => ({
    address,
    parameters: "",
  }));

  const routes = new Map<string, UserRoute>();
  const ask = (addresses: readonly string[]): void => {
    for (const { user } of addresses.flatMap((address) => table.leaves(address))) {
      if (user === undefined || routes.has(user)) continue;
      const targets = pick(2) === 0 ? [] : [...new Set(some(everything, 2))];
      routes.set(user, { keep: pick(2) === 0, targets, parameters: "" });
      ask(targets);
    }
  };
  ask(recipients.map(({ address }) => address));
  await breakCircles(routes, table.expand);
  const plan = await planRecipients(recipients, routes, table.expand);

  const gone = new Set(plan.removed.map(({ address }) => address));
  const final = [...recipients.filter(({ address }) => !gone.has(address)), ...plan.added].map(
    ({ address }) => address,
  );
  const reached = new Set(final.flatMap((address) => table.leaves(address)).map(({ address }) => address));
  const before = new Set(
    recipients.flatMap(({ address }) => table.leaves(address)).map(({ address }) => address),
  );
  const about = `case ${seed}: ${JSON.stringify({ aliases: [...table.aliases], recipients, routes: [...routes], plan })}`;
  for (const address of before) {
    const { user } = leaf(address);
    if (user === undefined || routes.get(user)?.keep !== false)
      assert.ok(reached.has(address), `${address} lost: ${about}`);
  }
  for (const [user, { keep, targets }] of routes) {
    if (!keep && plan.warnings.length === 0)
      assert.ok(!reached.has(`${user}@x.test`), `${user} still gets it: ${about}`);
    for (const target of targets) {
      for (const { address, user: member } of table.leaves(target)) {
        if (member === undefined || routes.get(member)?.keep !== false)
          assert.ok(reached.has(address), `${address} of ${target} lost: ${about}`);
      }
    }
  }
  assert.equal(new Set(final).size, final.length, `twice the same recipient: ${about}`);
  if (routes.size > 0 && [...routes.values()].every(({ keep, targets }) => keep || targets.length > 0)) {
    assert.ok(final.length > 0, `nobody is left: ${about}`);
  }
  for (const { address } of plan.added) {
    const rest = new Set(
      final
        .filter((other) => other !== address)
        .flatMap((other) => table.leaves(other))
        .map((one) => one.address),
    );
    assert.ok(
      !table.leaves(address).every((one) => rest.has(one.address)),
      `${address} is not needed: ${about}`,
    );
  }
}

test("random aliases, users and decisions", async () => {
  for (let seed = 1; seed <= CASES; seed++) await playCase(seed);
});
