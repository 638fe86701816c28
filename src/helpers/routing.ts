/**
 * VPOP3.RunUserScript, an extra of ours: how a USER_REDIRECT.LUA for all users
 * runs the one that the user has. It has no arguments, because a script routes
 * for one user at a time.
 */
import { type HostModule, LuaRaise } from "../lua/host.ts";

/** What the helper finds in the environment's context. */
export interface RoutingContext {
  /**
   * Runs the user's own script on the values that the running one has now.
   * @returns false when the user has none
   * @throws LuaRaise when it fails
   */
  readonly runUserScript?: (signal: AbortSignal) => Promise<boolean>;
}

export function routingModule(): HostModule {
  return {
    table: "VPOP3",
    functions: {
      RunUserScript: async (call) => {
        const { runUserScript } = call.context as RoutingContext;
        if (runUserScript === undefined) {
          throw new LuaRaise("a user's script can only be run by a USER_REDIRECT.LUA for all users");
        }
        return [await runUserScript(call.signal)];
      },
    },
  };
}
