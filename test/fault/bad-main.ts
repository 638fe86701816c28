/** `postlua serve` with the workers of bad-worker.ts; takes the same arguments. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../../src/config/load.ts";
import { serve } from "../../src/serve/serve.ts";

const { values } = parseArgs({
  options: { config: { type: "string", default: "" }, workers: { type: "string", default: "1" } },
  allowPositionals: true,
});
const config = await loadConfig(values.config);
process.exitCode = await serve(
  { ...config, workers: Number(values.workers) },
  { workerEntry: join(import.meta.dirname, "bad-worker.ts") },
);
