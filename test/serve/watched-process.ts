/** A process with a watchdog, for watchdog.test.ts; what it does is its first argument. */
import { Vital } from "../../src/serve/vital.ts";
import { startWatchdog } from "../../src/serve/watchdog.ts";

const MB = 1024 * 1024;
const vital = new Vital();
await startWatchdog(vital, {
  // Long enough for a busy machine to give the main thread its turn.
  silenceMs: process.argv[2] === "busy" ? 1_200 : 400,
  maxBytes: process.argv[2] === "memory" ? 250 * MB : 4096 * MB,
  text: process.argv[3] === "text",
});
vital.enter("session-1", "4QID", "SMTPSVR.LUA", "DoRCPTTO");
vital.at(17);

const kept: Buffer[] = [];
switch (process.argv[2]) {
  case "spin":
    for (;;);
  case "memory":
    setInterval(() => kept.push(Buffer.alloc(8 * MB, 1)), 10);
    break;
  case "busy": {
    // Busy without end, but the event loop turns.
    const end = performance.now() + 2_000;
    const turn = () => {
      for (const until = performance.now() + 100; performance.now() < until; );
      if (performance.now() > end) process.exit(0);
      setImmediate(turn);
    };
    turn();
    break;
  }
}
