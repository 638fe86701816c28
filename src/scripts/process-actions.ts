/**
 * The actions table of ProcessMessage (manual, "ProcessMessage()"): as it
 * enters, and as it comes back. Absent entries keep their value on entry.
 */
import type { LuaInput, LuaValue } from "../lua/values.ts";
import { flagResult, listResult, type Origin, tableResult, textResult } from "./results.ts";

export interface ProcessActions {
  readonly sendToOriginalRecipients: boolean;
  readonly delete: boolean;
  readonly ignore: boolean;
  readonly reason: string;
  readonly recipients: readonly string[];
  readonly headerModifiers: readonly string[];
  /** Reason for putting the message on hold, "" for not holding it. An extra of ours. */
  readonly hold: string;
  /** Names of entries that mean nothing, such as misspelt ones. */
  readonly unknown: readonly string[];
}

export const ACTION_NAMES: readonly string[] = [
  "SendToOriginalRecipients",
  "Delete",
  "Ignore",
  "Reason",
  "Recipients",
  "HeaderModifiers",
  "Hold",
];

const NO_ACTIONS: ProcessActions = {
  sendToOriginalRecipients: true,
  delete: false,
  ignore: false,
  reason: "",
  recipients: [],
  headerModifiers: [],
  hold: "",
  unknown: [],
};

/** The table that the script gets. Delete enters false, so that both rows of the manual's truth table can be reached. */
export function actionsOnEntry(): LuaInput {
  return {
    SendToOriginalRecipients: true,
    Delete: false,
    Ignore: false,
    Reason: "",
    Recipients: [],
    HeaderModifiers: [],
  };
}

/** Reads the returned table; nil means no change. @throws ScriptError for values of the wrong type */
export function readActions(value: LuaValue, origin: Origin): ProcessActions {
  const table = tableResult(value, origin, "its actions");
  if (table === undefined) return NO_ACTIONS;
  const flag = (name: string) => flagResult(table.get(name), origin, `actions.${name}`);
  const original = table.get("SendToOriginalRecipients");
  const hold = table.get("Hold");
  return {
    sendToOriginalRecipients:
      original === undefined ? true : flagResult(original, origin, "actions.SendToOriginalRecipients"),
    delete: flag("Delete"),
    ignore: flag("Ignore"),
    reason: textResult(table.get("Reason"), origin, "actions.Reason"),
    recipients: listResult(table.get("Recipients"), origin, "actions.Recipients"),
    headerModifiers: listResult(table.get("HeaderModifiers"), origin, "actions.HeaderModifiers"),
    hold: hold === true ? "held by script" : textResult(hold, origin, "actions.Hold"),
    unknown: [...table.entries.keys()].map(String).filter((name) => !ACTION_NAMES.includes(name)),
  };
}
