/** What primary and workers say to each other. Sockets travel with "connection". */
import type { Config } from "../config/load.ts";
import type { Transport } from "../milter/filter.ts";

export type ToWorker =
  | { readonly type: "init"; readonly config: Config; readonly text: boolean }
  /** `id` is acknowledged with "taken"; until then the primary keeps its own copy of the socket. */
  | { readonly type: "connection"; readonly id: number; readonly transport: Transport }
  | { readonly type: "stop"; readonly timeoutMs: number };

export type ToPrimary =
  | { readonly type: "ready" }
  | { readonly type: "taken"; readonly id: number }
  | { readonly type: "print"; readonly text: string }
  | { readonly type: "scriptError"; readonly entry: string };
