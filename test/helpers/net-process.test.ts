import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { processModule } from "../../src/helpers/os-process.ts";
import { splitCommand } from "../../src/helpers/os-process-args.ts";
import { callHost } from "./net-call.ts";

const dataDir = realpathSync(mkdtempSync(join(tmpdir(), "postlua-proc-")));
after(() => rmSync(dataDir, { recursive: true }));

function makeModule(options: { maxPrograms?: number; maxLines?: number } = {}) {
  const lines: string[] = [];
  const module = processModule({ dataDir, output: (_, line) => lines.push(line), ...options });
  const run = (command: string, ms = 10_000, signal?: AbortSignal) =>
    callHost(module, "timedexecute", [command, ms], signal && { signal });
  return { module, lines, run };
}

/** Runs `text` as a shell script, which the helper itself never does. */
function script(name: string, text: string): string {
  const path = join(dataDir, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}

const isAlive = (pid: number) => {
  try {
    // A zombie that nobody reaps yet is dead for our purpose.
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
};

async function waitUntil(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("splitCommand() - the rules", () => {
  const cases: [string, string[] | undefined][] = [
    ["", []],
    [" \t\n", []],
    ["prog", ["prog"]],
    [" a  b\tc ", ["a", "b", "c"]],
    ['"/opt/my prog/run" "a b"c', ["/opt/my prog/run", "a bc"]],
    ['a "" b', ["a", "", "b"]],
    ['a \\"b c\\"', ["a", '"b', 'c"']],
    ['"say ""hi"" now"', ['say "hi" now']],
    ['"\\"" x', ['"', "x"]],
    ["c:\\dir\\file \\\\x", ["c:\\dir\\file", "\\\\x"]],
    ['"c:\\dir\\\\" next', ["c:\\dir\\", "next"]],
    ['a\\\\\\"b', ['a\\"b']],
    ["it's 'a b' $HOME * ~ ; | > <", ["it's", "'a", "b'", "$HOME", "*", "~", ";", "|", ">", "<"]],
    ['"open', undefined],
    ['a "b" "', undefined],
    ['"a\\"', undefined],
  ];
  for (const [line, words] of cases) assert.deepEqual(splitCommand(line), words, line);
});

test("timedexecute - exit code, arguments as they are, output by lines", async () => {
  const { lines, run } = makeModule();
  const path = script("args", 'for a in "$@"; do printf "<%s>\\n" "$a"; done; printf tail >&2; exit 7');
  assert.deepEqual(await run(`${path} one "two three" "" $HOME '*' \xc3\xa9`), [7, 0]);
  assert.deepEqual(lines, ["<one>", "<two three>", "<>", "<$HOME>", "<'*'>", "<\xc3\xa9>", "tail"]);
  assert.deepEqual(await run("true"), [0, 0]);
  assert.deepEqual(await run("./args"), [7, 0], "relative to data_dir");
});

test("timedexecute - a small environment, no input, data_dir, a group of its own", async () => {
  const { lines, run } = makeModule();
  process.env.POSTLUA_TEST_SECRET = "secret";
  assert.deepEqual(
    await run(script("env", "env; pwd; cat; ps -o pgid= -p $$ 2>/dev/null || echo $$; echo $$")),
    [0, 0],
  );
  delete process.env.POSTLUA_TEST_SECRET;
  const text = lines.join("\n");
  assert.doesNotMatch(text, /secret/);
  assert.match(text, /^PATH=\/usr\/local\/sbin:/m);
  assert.ok(lines.includes(`HOME=${dataDir}`));
  assert.ok(lines.includes(dataDir));
  assert.equal(lines.at(-1)!.trim(), lines.at(-2)!.trim());
});

test("timedexecute - the errno of what cannot start", async () => {
  const { run } = makeModule();
  writeFileSync(join(dataDir, "data.txt"), "no program", { mode: 0o644 });
  assert.deepEqual(await run("no-such-program-here"), [-1, 2]);
  assert.deepEqual(await run("/nonexistent/program"), [-1, 2]);
  assert.deepEqual(await run(join(dataDir, "data.txt")), [-1, 13]);
  assert.deepEqual(await run(dataDir), [-1, 13]);
  assert.deepEqual(await run(""), [-1, 2]);
  assert.deepEqual(await run('"open'), [-1, 22]);
  assert.deepEqual(await run("a\0b"), [-1, 22]);
  assert.deepEqual(await run("echo \xe9"), [-1, 84]);
  assert.deepEqual(await run(`echo ${"x".repeat(3_000_000)}`), [-1, 7]);
});

test("timedexecute - ended by a signal", async () => {
  const { run } = makeModule();
  assert.deepEqual(await run(script("suicide", "kill -TERM $$")), [128 + 15, 0]);
});

test("timedexecute - at the limit the whole group dies", async () => {
  const { lines, run } = makeModule();
  const path = script(
    "family",
    "trap '' TERM INT HUP\nsleep 1000 & echo $!\nsleep 1000 & echo $!\necho $$\nwait",
  );
  assert.deepEqual(await run(path, 300), [-1, 110]);
  assert.equal(lines.length, 3);
  for (const pid of lines.map(Number)) await waitUntil(() => !isAlive(pid), `process ${pid} still runs`);
});

test("timedexecute - children left behind do not outlive the program", async () => {
  const { lines, run } = makeModule();
  const started = performance.now();
  assert.deepEqual(await run(script("orphan", "sleep 1000 & echo $!; exit 3"), 60_000), [3, 0]);
  assert.ok(performance.now() - started < 20_000);
  await waitUntil(() => !isAlive(Number(lines[0])), "the orphan still runs");
});

test("timedexecute - killed when its session goes", async () => {
  const { lines, run } = makeModule();
  const gone = new AbortController();
  const result = run(script("long", "echo $$; sleep 1000"), 60_000, gone.signal);
  await waitUntil(() => lines.length > 0, "no output");
  gone.abort();
  assert.deepEqual(await result, [-1, 110]);
  await waitUntil(() => !isAlive(Number(lines[0])), "the program still runs");
  assert.deepEqual(await run("true", 1000, gone.signal), [-1, 110]);
});

test("timedexecute - output is bounded in lines, line length and amount", async () => {
  const { lines, run } = makeModule({ maxLines: 3 });
  assert.deepEqual(
    await run(script("lines", "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done")),
    [0, 0],
  );
  assert.deepEqual(lines, ["line 0", "line 1", "line 2", "(output after 3 lines dropped)"]);
  const wide = makeModule();
  await wide.run("head -c 100000 /dev/zero");
  assert.deepEqual(
    wide.lines.map((line) => line.length),
    [1000],
  );
  const flood = makeModule({ maxLines: 1 });
  const [exitCode, errorCode] = await flood.run("yes", 60_000);
  assert.notEqual(exitCode, -1, "ended by its closed output, not by the limit");
  assert.equal(errorCode, 0);
});

test("timedexecute - no more than maxPrograms at once", async () => {
  const { lines, run } = makeModule({ maxPrograms: 2 });
  const path = script("count", "echo start; sleep 0.02; echo end");
  const results = await Promise.all(Array.from({ length: 8 }, () => run(path)));
  assert.deepEqual(results, Array(8).fill([0, 0]));
  let now = 0;
  for (const line of lines) {
    now += line === "start" ? 1 : -1;
    assert.ok(now <= 2);
  }
  assert.equal(lines.length, 16);
});

test("sleep - waits, ends early with its session, takes odd numbers", async () => {
  const { module } = makeModule();
  const started = performance.now();
  assert.deepEqual(await callHost(module, "sleep", [50]), []);
  assert.ok(performance.now() - started > 40);
  for (const ms of [0, -5, Number.NEGATIVE_INFINITY, "1"])
    assert.deepEqual(await callHost(module, "sleep", [ms]), []);
  const gone = new AbortController();
  const long = callHost(module, "sleep", [Number.POSITIVE_INFINITY], { signal: gone.signal });
  gone.abort();
  assert.deepEqual(await long, []);
});
