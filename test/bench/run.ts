/** Every benchmark, one after another; with names, those alone: `npm run bench -- milter patterns`. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

const HERE = import.meta.dirname;

const all = readdirSync(HERE, { withFileTypes: true })
  .flatMap((entry) => {
    if (entry.isFile() && entry.name.endsWith(".ts") && entry.name !== "run.ts") {
      return [{ name: entry.name.slice(0, -3), file: join(HERE, entry.name) }];
    }
    const file = join(HERE, entry.name, "run.ts");
    return entry.isDirectory() && existsSync(file) ? [{ name: entry.name, file }] : [];
  })
  .sort((a, b) => a.name.localeCompare(b.name));

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !all.some((bench) => bench.name === name));
if (unknown.length > 0) {
  console.error(
    `no benchmark is called ${unknown.join(", ")}; there are ${all.map(({ name }) => name).join(", ")}`,
  );
  process.exit(64);
}
let failed = false;
for (const { name, file } of all) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`== ${name}`);
  failed = spawnSync(process.execPath, [file], { stdio: "inherit" }).status !== 0 || failed;
}
process.exitCode = failed ? 1 : 0;
