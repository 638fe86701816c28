/** Tables of Lua expressions and what Lua 5.0 makes of them. */
import assert from "node:assert/strict";
import { run, type TestEngine } from "./helper.ts";

/** An expression list, and its values as `show` below prints them. */
export type Answer = readonly [expressions: string, want: string];

// One line, so that expression n is on line n + 1.
const PRELUDE = String.raw`
local function quoted(v)
  if type(v) ~= "string" then return tostring(v) end
  local text = string.gsub(v, "[%c\128-\255]", function(c) return string.format("\\%03d", string.byte(c)) end)
  return '"' .. text .. '"'
end
local function show(...)
  local given, out = table.pack(...), {}
  for i = 1, given.n do out[i] = quoted(given[i]) end
  print(table.concat(out, " "))
end
function sorted(t, less)
  local ok, err = pcall(table.sort, t, less)
  local out = {}
  for i = 1, table.getn(t) do out[i] = tostring(t[i]) end
  return table.concat(out, " "), err
end
function fields(t)
  return table.concat({t.year, t.month, t.day, t.hour, t.min, t.sec, t.wday, t.yday, tostring(t.isdst)}, " ")
end
`.replaceAll("\n", " ");

/** Evaluates each row in one environment, one after another, and compares. */
export async function assertAnswers(test: TestEngine, rows: readonly Answer[]): Promise<void> {
  const lines = rows.map(([expressions]) => `show((function() return ${expressions} end)())`);
  const out = (await run(test, `${PRELUDE}\n${lines.join("\n")}`)).split("\n");
  for (const [i, [expressions, want]] of rows.entries()) assert.equal(out[i], want, expressions);
}
