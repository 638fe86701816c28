/** Starts both halves as whoever runs it: both-halves.ts CONFIG_DIRECTORY ENTRY TASK. */
import { startHalves } from "../../src/queue/halves.ts";
import { keptLog } from "./harness.ts";

const [configDirectory = "", entry = "", task = ""] = process.argv.slice(2);
const halves = await startHalves({ configDirectory, user: undefined, entry, args: [task], log: keptLog() });
console.log(`statement ${halves.statement}`);
process.exitCode = await halves.ended;
