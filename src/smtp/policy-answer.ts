/** What the policy service answers, as plain values, and what DoRoute may return of it. */
import type { Reply } from "./verdict.ts";

/** Only the policy service can have Postfix do these; all but PREPEND and BCC concern the whole message. */
export type RouteAction =
  | { readonly kind: "dunno" }
  | { readonly kind: "filter"; readonly destination: string }
  | { readonly kind: "redirect"; readonly address: string }
  | { readonly kind: "bcc"; readonly address: string }
  | { readonly kind: "hold"; readonly text: string }
  | { readonly kind: "discard"; readonly text: string }
  | { readonly kind: "prepend"; readonly header: string };

export type PolicyAnswer =
  | RouteAction
  | { readonly kind: "ok" }
  | { readonly kind: "rejectUnauthDestination" }
  | { readonly kind: "refuse"; readonly reply: Reply };

export const DUNNO: RouteAction = { kind: "dunno" };

const ADDRESS = /^[!-~\x80-\xff]+@[!-~\x80-\xff]+$/;

/**
 * Reads what DoRoute returned, "VERB argument" as access(5) writes it, the verb in any case; "" is DUNNO.
 * @returns a text saying what is wrong with anything that Postfix would not carry out
 */
export function readRoute(text: string): RouteAction | string {
  const [, verb = "", argument = ""] = /^\s*(\S*)\s*(.*?)\s*$/s.exec(text) ?? [];
  // A line end would be the end of the action, and a NUL what Postfix takes for one.
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(argument)) return "has a line end or control character";
  const address = () => (ADDRESS.test(argument) ? argument : undefined);
  switch (verb.toUpperCase()) {
    case "":
    case "DUNNO":
      return DUNNO;
    case "FILTER":
      if (/^[\w.-]+:[!-~]*$/.test(argument)) return { kind: "filter", destination: argument };
      return "needs transport:destination after FILTER";
    case "REDIRECT":
      return address() === undefined
        ? "needs an address user@domain after REDIRECT"
        : { kind: "redirect", address: argument };
    case "BCC":
      return address() === undefined
        ? "needs an address user@domain after BCC"
        : { kind: "bcc", address: argument };
    case "HOLD":
      return { kind: "hold", text: argument };
    case "DISCARD":
      return { kind: "discard", text: argument };
    case "PREPEND":
      if (/^[!-9;-~]{1,100}:[\t -~\x80-\xff]{0,900}$/.test(argument))
        return { kind: "prepend", header: argument };
      return "needs a header line, Name: value, after PREPEND";
    default:
      return "is none of FILTER, REDIRECT, HOLD, PREPEND, BCC, DISCARD and DUNNO";
  }
}
