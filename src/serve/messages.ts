/** What primary and workers say to each other, as JSON. Sockets travel with "connection"; texts are byte strings. */
import type { Config } from "../config/load.ts";
import type { ScriptErrorDetails } from "../lua/errors.ts";
import type { FilterNeeds, Transport } from "../milter/filter.ts";
import type { PolicyAnswer } from "../smtp/policy-answer.ts";

/** Which protocol a connection speaks. */
export type Door = "milter" | "socketmap";

/** A script's text with what the trial found in it. */
export interface ScriptVersion {
  /** "SMTPSVR.LUA". */
  readonly name: string;
  readonly path: string;
  readonly source: string;
  /** Start of the text's SHA-256. */
  readonly hash: string;
  /** The file's modification time, ISO. */
  readonly modified: string;
  readonly callbacks: readonly string[];
}

/** A ScriptError on its way between processes. */
export interface ScriptProblem {
  readonly message: string;
  readonly details: ScriptErrorDetails;
}

/** What a worker is to run under a script's name. */
export type GivenScript =
  | { readonly kind: "absent" }
  | { readonly kind: "good"; readonly version: ScriptVersion }
  | { readonly kind: "broken"; readonly problem: ScriptProblem };

/** By script name, "SMTPSVR.LUA"; what is not there is absent. */
export type GivenScripts = Readonly<Record<string, GivenScript>>;

/** Users who have a directory for scripts, lower case: nobody else's script need be asked for. */
export type UsersWithScripts = readonly string[];

export type ScriptCandidate = Omit<ScriptVersion, "callbacks">;

export type ToWorker =
  /** First of all, and again when the configuration has changed. */
  | {
      readonly type: "init";
      readonly config: Config;
      readonly text: boolean;
      readonly scripts: GivenScripts;
      readonly users: UsersWithScripts;
    }
  /** For sessions that begin from now on; what was known of users' scripts is out of date. */
  | { readonly type: "scripts"; readonly scripts: GivenScripts; readonly users: UsersWithScripts }
  /** The answer to "userScript". */
  | { readonly type: "userScript"; readonly user: string; readonly script: GivenScript }
  /** Compile it, run its top level once, answer "tried". */
  | { readonly type: "try"; readonly candidate: ScriptCandidate }
  /** Acknowledged with "taken"; until then the primary keeps its own copy of the socket, and sends no other. */
  | {
      readonly type: "connection";
      readonly transport: Transport;
      readonly door: Door;
      readonly introduced?: Introduced;
    }
  /** The primary has let go of the introduced connection that was taken: it may be served. */
  | { readonly type: "go" }
  /** A request of Postfix's policy service: names and values in turn. Answered with "policyAnswer". */
  | {
      readonly type: "policy";
      readonly number: number;
      readonly key: string;
      readonly attributes: readonly string[];
    }
  /** The client of a session is gone, unless something came of it after `number`. */
  | { readonly type: "clientGone"; readonly key: string; readonly number: number }
  /** Answered with "pong" by a worker that is not stuck. */
  | { readonly type: "ping" }
  | { readonly type: "stop"; readonly timeoutMs: number };

/** What the primary has read of a milter connection: everything up to CONNECT, the negotiation answered. */
export interface Introduced {
  /** The client, as policy requests name it; "" when it shares its session with none. */
  readonly key: string;
  readonly number: number;
  /** The bytes, as a byte string. */
  readonly head: string;
  /** What the negotiation was answered with; undefined when it was not. */
  readonly needs?: FilterNeeds;
}

/** A script's failure, for LUAERRORS.LOG and the status. */
export interface ReportedError {
  readonly entry: string;
  readonly session: string;
  readonly queue: string;
  readonly problem: ScriptProblem;
}

/** A metric as prom-client adds them up over processes. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "histogram";
  readonly aggregator: "sum";
  readonly values: readonly {
    readonly value: number;
    readonly labels: Readonly<Record<string, string | number>>;
    /** Of a histogram: name_bucket, name_sum, name_count. */
    readonly metricName?: string;
  }[];
}

/** A worker's figures since it started. */
export interface Figures {
  readonly open: number;
  readonly metrics: readonly Metric[];
}

export type ToPrimary =
  | { readonly type: "ready" }
  | { readonly type: "taken" }
  | { readonly type: "pong" }
  /** What this worker's sessions need of the MTA from now on. */
  | { readonly type: "needs"; readonly needs: FilterNeeds }
  | { readonly type: "policyAnswer"; readonly number: number; readonly answer: PolicyAnswer }
  /** A shared session has ended; `number` is that of the last thing it had from the primary. */
  | { readonly type: "sessionOver"; readonly key: string; readonly number: number }
  | { readonly type: "tried"; readonly callbacks: readonly string[]; readonly problem?: ScriptProblem }
  | { readonly type: "print"; readonly text: string }
  /** Asks for a user's own script, when the user's first mail comes. */
  | { readonly type: "userScript"; readonly user: string }
  | { readonly type: "scriptError"; readonly error: ReportedError }
  | { readonly type: "figures"; readonly figures: Figures };
