/** In which order a real Postfix sends what the worker releases. */
import assert from "node:assert/strict";
import { session } from "../../src/queue/session.ts";
import { mail, shuffled, subjects, yard } from "../queue/yard.ts";
import { postfixTest } from "./harness.ts";

const MANY = process.env.POSTLUA_LONG === undefined ? 60 : 300;

postfixTest(`window 1: ${MANY} messages parked at random arrive exactly by priority`, async (context) => {
  const { park, staff, sink } = await yard(context, { settings: { window: 1 } });
  await park(shuffled(MANY).map((n) => mail(`${n}`, `r${n}@remote.test`, n)));
  const { worker } = await staff();
  await session(worker);
  assert.deepEqual(
    subjects(sink),
    Array.from({ length: MANY }, (_, i) => `${MANY - 1 - i}`),
  );
});
