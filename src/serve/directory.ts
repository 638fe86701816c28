/** The directory of a process, made from the configuration; the store is opened when somebody needs it. */
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import { PostfixExpander } from "../directory/expand.ts";
import { LazyStore } from "../directory/lazy-store.ts";
import { openStore, storeName } from "../directory/open.ts";
import type { Log } from "../log.ts";

export type DirectorySettings = Pick<Config, "store" | "postfix">;

/** Opens nothing yet. Who makes it closes it. */
export function makeDirectory(config: DirectorySettings, log: Log): Directory {
  const store = new LazyStore({
    name: storeName(config.store),
    open: () => openStore(config.store, log),
    problem: (problem) => log.error("store", { store: storeName(config.store), problem }),
  });
  const expander = new PostfixExpander({ store, configDir: config.postfix.config_dir });
  return {
    store,
    expander,
    async close() {
      await expander.close();
      await store.close();
    },
  };
}
