/** Engines and environments for tests of src/lua. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { Budget } from "../../src/lua/budget.ts";
import { LuaEngine } from "../../src/lua/engine.ts";
import type { LuaEnvironment } from "../../src/lua/environment.ts";
import { ScriptError } from "../../src/lua/errors.ts";
import type { HostModule } from "../../src/lua/host.ts";
import type { Dialect } from "../../src/lua/lexer.ts";
import type { LuaValue } from "../../src/lua/values.ts";

/** Generous: for tests that are not about budgets. */
export const AMPLE: Budget = {
  instructions: 2_000_000_000,
  cpuMs: 60_000,
  wallMs: 60_000,
  stringBytes: 4_000_000_000,
  outputBytes: 50_000_000,
  openFiles: 100,
};

export interface TestEngine {
  readonly engine: LuaEngine;
  readonly dataDir: string;
}

/** An engine with directories of its own, removed when the test file is done. */
export function makeEngine(options: {
  dialect?: Dialect;
  modules?: readonly HostModule[];
  maxMemoryBytes?: number;
}): TestEngine {
  const dataDir = mkdtempSync(join(tmpdir(), "postlua-lua-"));
  after(() => rmSync(dataDir, { recursive: true, force: true }));
  const engine = new LuaEngine({
    dialect: options.dialect ?? "5.0",
    dataDir,
    scriptsDir: dataDir,
    modules: options.modules ?? [],
    print: () => {},
    ...(options.maxMemoryBytes === undefined ? {} : { maxMemoryBytes: options.maxMemoryBytes }),
  });
  return { engine, dataDir };
}

export interface Opened {
  readonly environment: LuaEnvironment;
  /** What the script has printed so far. */
  output(): string;
}

/** Compiles `source` and opens an environment for it; the top level has not run. */
export function open(
  { engine }: TestEngine,
  source: string | Uint8Array,
  options: { budget?: Budget; context?: object; name?: string; safetyKey?: string } = {},
): Opened {
  const bytes = typeof source === "string" ? Buffer.from(source, "latin1") : source;
  const name = options.name ?? "test.lua";
  const script = engine.compile(name, `/${name}`, bytes);
  const chunks: string[] = [];
  const environment = engine.open(script, {
    context: options.context ?? {},
    budget: options.budget ?? AMPLE,
    print: (text) => chunks.push(text),
    ...(options.safetyKey === undefined ? {} : { safetyKey: options.safetyKey }),
  });
  return { environment, output: () => chunks.join("") };
}

/** Runs `source` to its end and gives what it printed. */
export async function run(
  test: TestEngine,
  source: string | Uint8Array,
  budget: Budget = AMPLE,
  name = "test.lua",
): Promise<string> {
  const { environment, output } = open(test, source, { budget, name });
  try {
    await environment.start();
    return output();
  } finally {
    environment.close();
  }
}

/** The values of `return EXPRESSIONS`. */
export async function evaluate(test: TestEngine, expressions: string): Promise<LuaValue[]> {
  const { environment } = open(test, `function f() return ${expressions} end`);
  await environment.start();
  const values = await environment.call("f");
  environment.close();
  return values;
}

/** The ScriptError that `promise` rejects with. */
export async function scriptError(promise: Promise<unknown>): Promise<ScriptError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ScriptError) return error;
    throw error;
  }
  throw new Error("no error");
}
