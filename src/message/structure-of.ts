/** The structure of a message, worked out once and in turns with other work, whoever asks first. */
import { type MessageSource, type MimeStructure, structureSteps } from "./mime.ts";
import { inTurns } from "./steps.ts";

const known = new WeakMap<MessageSource, Promise<MimeStructure>>();

/** `store` is complete. */
export function structureOf(store: MessageSource): Promise<MimeStructure> {
  let structure = known.get(store);
  if (structure === undefined) {
    structure = inTurns(structureSteps(store));
    known.set(store, structure);
  }
  return structure;
}
