/**
 * The last good text of each script, kept by the primary for every worker
 * there will be: a file that is broken on disk never reaches one. Whether a
 * text is good is found out by a process of its own (trial.ts).
 *
 * A version whose callbacks have killed too many workers is switched off; only
 * another text switches it on again.
 */
import { dirname } from "node:path";
import { ScriptError } from "../lua/errors.ts";
import type { GivenScript, ScriptCandidate, ScriptProblem, ScriptVersion } from "./messages.ts";
import { readSettled } from "./script-file.ts";

export type LoadOutcome =
  | { readonly kind: "loaded"; readonly version: ScriptVersion }
  | { readonly kind: "unchanged" }
  /** There is no such file; it had been loaded before. */
  | { readonly kind: "removed" }
  /** There is no such file and never was, or it is gone and the last good text stays. */
  | { readonly kind: "missing" }
  | { readonly kind: "refused"; readonly problem: ScriptProblem; readonly kept: boolean };

/** Runs a candidate once. @returns the callbacks it defines. @throws ScriptError */
export type TryOut = (candidate: ScriptCandidate) => Promise<readonly string[]>;

export interface ScriptPlaces {
  /** What the file is called; default: as the script. */
  readonly file?: string;
  /** Where the file lies that is used when the scripts directory has none. */
  readonly fallback?: string;
}

export class ScriptSlot {
  readonly name: string;
  readonly #places: ScriptPlaces;
  #good: ScriptVersion | undefined;
  #refused: ScriptProblem | undefined;
  #off: ScriptProblem | undefined;

  constructor(name: string, places: ScriptPlaces = {}) {
    this.name = name;
    this.#places = places;
  }

  /** The version in service, also when it is switched off. */
  get version(): ScriptVersion | undefined {
    return this.#good;
  }

  /** Why the file on disk is not in service, or why the version in service is switched off. */
  get problem(): ScriptProblem | undefined {
    return this.#off ?? this.#refused;
  }

  get switchedOff(): boolean {
    return this.#off !== undefined;
  }

  given(): GivenScript {
    if (this.#off !== undefined) return { kind: "broken", problem: this.#off };
    if (this.#good !== undefined) return { kind: "good", version: this.#good };
    if (this.#refused !== undefined) return { kind: "broken", problem: this.#refused };
    return { kind: "absent" };
  }

  /** From now on its verdict is script_error. */
  switchOff(problem: ScriptProblem): void {
    this.#off = problem;
  }

  /**
   * Looks at the file and takes its text into service when it is new and good. A file that has gone takes the
   * script out of service only with `mayRemove`: an editor or a deployment may be half way.
   */
  async load(directory: string, tryOut: TryOut, mayRemove: boolean): Promise<LoadOutcome> {
    let candidate: ScriptCandidate | undefined;
    try {
      candidate = await this.#read(directory, mayRemove);
    } catch (error) {
      return this.#refuse(problemOf(error));
    }
    if (candidate === undefined) return this.#gone(mayRemove);
    const { hash } = candidate;
    if (hash === this.#good?.hash) {
      this.#refused = undefined;
      return { kind: "unchanged" };
    }
    if (this.#good !== undefined && candidate.source.trim() === "") return this.#refuse(this.#empty());
    try {
      const version = { ...candidate, callbacks: await tryOut(candidate) };
      this.#good = version;
      this.#refused = undefined;
      this.#off = undefined;
      return { kind: "loaded", version };
    } catch (error) {
      return this.#refuse(problemOf(error));
    }
  }

  async #read(directory: string, mayRemove: boolean): Promise<ScriptCandidate | undefined> {
    const { file = this.name, fallback } = this.#places;
    const found = await readSettled(directory, file);
    if (found !== undefined) return { ...found, name: this.name };
    const free = mayRemove || this.#good === undefined || dirname(this.#good.path) === fallback;
    return fallback !== undefined && free ? readSettled(fallback, file) : undefined;
  }

  #gone(mayRemove: boolean): LoadOutcome {
    this.#refused = undefined;
    if (!mayRemove || this.#good === undefined) return { kind: "missing" };
    this.#good = undefined;
    this.#off = undefined;
    return { kind: "removed" };
  }

  /** A full disk leaves such files behind. */
  #empty(): ScriptProblem {
    return {
      message: `${this.name}: the file is empty; delete it and reload to go on without this script`,
      details: { kind: "missing", script: this.name, callback: "", line: 0, traceback: "" },
    };
  }

  #refuse(problem: ScriptProblem): LoadOutcome {
    this.#refused = problem;
    return { kind: "refused", problem, kept: this.#good !== undefined };
  }
}

function problemOf(error: unknown): ScriptProblem {
  if (!(error instanceof ScriptError)) throw error;
  return { message: error.message, details: error.details };
}
