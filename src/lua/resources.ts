/** From a running thread to its environment, and what the environment holds open. */
import { Breach } from "./breach.ts";
import { taskOf } from "./budget.ts";
import type { Resource, Session } from "./session.ts";
import type { LuaState } from "./vm.ts";

/** The environment that runs on `L`. */
export function sessionOf(L: LuaState): Session {
  const task = taskOf(L);
  if (task === null) throw new Error("no script runs on this thread");
  return task.session;
}

/**
 * Registers an open file, to be closed with the environment. Throws the breach
 * when there are too many, having closed `resource`.
 */
export function openResource(L: LuaState, resource: Resource): void {
  const task = taskOf(L);
  const session = sessionOf(L);
  if (task !== null && session.resources.size >= task.budget.openFiles) {
    resource.close();
    task.throwBreach(
      L,
      new Breach("budget", "files", `budget exceeded: more than ${task.budget.openFiles} open files`),
    );
  }
  session.resources.add(resource);
}
