/** The queue worker's systemd units: they fit the checkout and the defaults, and the rights they leave are enough. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { UNIT } from "../../src/commands/queue-install.ts";
import { CONFIG } from "../../src/config/schema.ts";
import { QueuePlace } from "../queue/queue-place.ts";
import { postfixTest } from "./harness.ts";

const CHECKOUT = join(import.meta.dirname, "../..");
const UNITS = ["postlua-queue.service", "postlua-queue-failsafe.service", "postlua-queue-failsafe.timer"];
const text = (unit: string) => readFileSync(join(CHECKOUT, "systemd", unit), "utf8");

function value(unit: string, name: string): string {
  return new RegExp(`^${name}=(.*)$`, "m").exec(text(unit))?.[1] ?? "";
}

test("what the units run is in the checkout, and what they may write is what the configuration names", () => {
  assert.ok(UNITS.includes(UNIT));
  const config = CONFIG.parse({});
  for (const [unit, command] of [
    ["postlua-queue.service", "queue --watch"],
    ["postlua-queue-failsafe.service", "queue failsafe"],
  ] as const) {
    const [node = "", main = "", ...args] = value(unit, "ExecStart").split(" ");
    for (const path of [node, main]) assert.ok(existsSync(path.replace("/opt/postlua", CHECKOUT)), path);
    assert.equal(args.slice(0, 2).join(" "), command);
    const paths = value(unit, "ReadWritePaths").split(" ");
    assert.ok(paths.includes(`-${config.data_dir}`) && paths.includes(`-${config.log_dir}`), paths.join());
  }
});

const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;
test("systemd-analyze verify finds nothing", { skip: hasSystemd ? false : "no systemd-analyze here" }, () => {
  const directory = mkdtempSync(join(tmpdir(), "postlua-units-"));
  const paths = UNITS.map((unit) => {
    writeFileSync(join(directory, unit), text(unit).replaceAll("/opt/postlua", CHECKOUT));
    return join(directory, unit);
  });
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", ...paths], { encoding: "utf8" });
  rmSync(directory, { recursive: true });
  assert.deepEqual([stderr, status], ["", 0]);
});

postfixTest("with the unit's capabilities and no_new_privs, mail is released and bounced", async () => {
  await using place = await QueuePlace.start({
    sink: { refuse: (to) => (to.startsWith("r1@") ? { code: 450, text: "4.2.0 Not now" } : undefined) },
  });
  place.script("RELAYOUT.LUA", "function CheckFile(f, a) return a end");
  await place.park(2, 1, 2);
  const kept = value("postlua-queue.service", "CapabilityBoundingSet")
    .split(" ")
    .map((name) => name.replace("CAP_", "+").toLowerCase());
  const limits = ["--no-new-privs", `--bounding-set=-all,${kept.join(",")}`, "--inh-caps=-all"];
  const limited = (...command: string[]) =>
    new Promise<string>((resolve, reject) => {
      execFile("setpriv", [...limits, ...command], (error, out, err) => {
        if (error === null) resolve(out);
        else reject(new Error(`${command.join(" ")}: ${out}${err}`));
      });
    });
  const main = join(CHECKOUT, "src/main.ts");
  await limited(process.execPath, main, "queue", "--once", "--config", place.config);
  assert.deepEqual(place.arrived, ["2"]);
  const { configDirectory } = place.postfix;
  await limited("/usr/sbin/postsuper", "-c", configDirectory, "-e", "ALL");
  await limited("/usr/sbin/postqueue", "-c", configDirectory, "-f");
  await place.sink.waitFor(({ sender, body }) => sender === "" && /4\.2\.0 Not now/.test(body));
});
