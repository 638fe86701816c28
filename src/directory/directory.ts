/** What a process knows of its users and addresses: one store, one expander, opened when they are first needed. */
import type { Expander } from "./expander.ts";
import type { Store } from "./store.ts";

export interface Directory {
  readonly store: Store;
  readonly expander: Expander;
  /** Both. */
  close(): Promise<void>;
}
