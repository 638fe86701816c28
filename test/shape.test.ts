/** The shape of the source: which way imports go, and whether README.md says what the code does. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { test } from "node:test";
import { parameters } from "../src/config/describe.ts";
import { NOTICE_NUMBERS } from "../src/message/notice.ts";
import { CALLED_SCRIPTS } from "../src/scripts/callbacks.ts";
import { FORMAT_IDS, SUBJECT_IDS } from "../src/smtp/notice.ts";

const ROOT = join(import.meta.dirname, "..");
const SRC = join(ROOT, "src");

/** From the top down: a file may import from its own layer and from those below it. */
const LAYERS: readonly (readonly string[])[] = [
  ["main.ts"],
  ["commands"],
  ["queue"],
  ["serve"],
  ["smtp"],
  ["scripts"],
  ["helpers"],
  ["directory", "lua", "message", "net"],
  ["config"],
  ["log.ts"],
  ["log-line.ts", "bytes.ts"],
];

/** Folders that may be taken out and used alone: what lies in them imports nothing of ours from outside. */
const ALONE = ["milter", "policy", "socketmap"];

function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(directory, name));
}

function imports(file: string): string[] {
  const text = readFileSync(file, "utf8");
  return [...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom "(\.[^"]+)"/gms)].map((match) =>
    normalize(join(dirname(file), match[1] ?? "")),
  );
}

const GRAPH = new Map(files(SRC).map((file) => [file, imports(file)]));
const place = (file: string) => relative(SRC, file).split("/")[0] ?? "";
const layer = (file: string) => LAYERS.findIndex((names) => names.includes(place(file)));

test("every folder of src has a layer", () => {
  const without = new Set([...GRAPH.keys()].map(place).filter((name) => !ALONE.includes(name)));
  for (const names of LAYERS) for (const name of names) without.delete(name);
  assert.deepEqual([...without], []);
});

test("imports go down, and never sideways between folders of one layer", () => {
  const wrong: string[] = [];
  for (const [file, targets] of GRAPH) {
    for (const target of targets) {
      const edge = `${relative(SRC, file)} -> ${relative(SRC, target)}`;
      if (place(file) === place(target)) continue;
      if (ALONE.includes(place(file))) wrong.push(`${edge} (${place(file)} stands alone)`);
      else if (ALONE.includes(place(target))) {
        if (layer(file) > LAYERS.findIndex((names) => names.includes("serve"))) wrong.push(edge);
      } else if (layer(target) <= layer(file) && place(target) !== "bytes.ts") wrong.push(edge);
    }
  }
  assert.deepEqual(wrong, []);
});

test("no circles", () => {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    if (done.has(file)) return;
    const at = path.indexOf(file);
    assert.equal(
      at,
      -1,
      `circle: ${[...path.slice(at), file].map((name) => relative(SRC, name)).join(" -> ")}`,
    );
    path.push(file);
    for (const target of GRAPH.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  for (const file of GRAPH.keys()) visit(file);
  assert.equal(done.size, GRAPH.size);
});

test("files stay short", () => {
  const lengths = [...GRAPH.keys()]
    .map((file) => readFileSync(file, "utf8").split("\n").length)
    .sort((a, b) => a - b);
  const median = lengths[Math.floor(lengths.length / 2)] ?? 0;
  assert.ok(median <= 200, `the median file has ${median} lines`);
});

const README = readFileSync(join(ROOT, "README.md"), "utf8");

test("README.md has every parameter, with its default and meaning", () => {
  for (const { name, fallback, meaning } of parameters()) {
    assert.notEqual(meaning, "", `${name} has no description`);
    const row = `| \`${name}\` | ${fallback === "" ? "" : `\`${fallback}\``} | ${meaning} |`;
    assert.ok(README.includes(row), `README.md lacks the row\n${row}`);
  }
});

test("README.md has no parameter that does not exist", () => {
  const table = README.slice(README.indexOf("| parameter |"), README.indexOf("## SMTPSVR.LUA"));
  const known = new Set(parameters().map(({ name }) => name));
  for (const [, name = ""] of table.matchAll(/^\| `([^`]+)`/gm)) assert.ok(known.has(name), name);
});

test("README.md has every callback with its parameters", () => {
  for (const { callbacks } of Object.values(CALLED_SCRIPTS)) {
    for (const [name, { parameters: given }] of Object.entries(callbacks)) {
      const signature = `\`${name}(${given.join(", ")})\``;
      assert.ok(README.includes(signature), `README.md lacks ${signature}`);
    }
  }
});

test("README.md has every kind of notice with its numbers", () => {
  for (const number of Object.values(NOTICE_NUMBERS)) {
    const row = `| ${number} | ${SUBJECT_IDS + number} | ${FORMAT_IDS + number} |`;
    assert.ok(README.includes(row), `README.md lacks a row with ${row}`);
  }
});
