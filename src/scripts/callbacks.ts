/**
 * The callbacks of each script: parameters and results as the manual gives
 * them, written once. Calls, `postlua check` and the docs all read this table.
 */

export type CallbackRole =
  /** Its first result decides; a script error becomes the script_error setting. */
  | "verdict"
  /** Its result only changes something; a script error leaves things as they are. */
  | "value"
  /** Its results have no effect through a milter. */
  | "notice";

export interface CallbackDeclaration {
  readonly parameters: readonly string[];
  readonly results: readonly string[];
  readonly role: CallbackRole;
  /** What a milter cannot do with the results, for `postlua check`; "" when everything is served. */
  readonly limits: string;
}

function declare(
  role: CallbackRole,
  parameters: readonly string[],
  results: readonly string[],
  limits = "",
): CallbackDeclaration {
  return { role, parameters, results, limits };
}

const NO_TEXT = "called, but the text it returns cannot be shown to the client";
const NO_POSITIVE = "a 2xx text cannot be shown to the client; 4xx and 5xx can";

export const SMTPSVR_FILE = "SMTPSVR.LUA";

/** SMTPSVR.LUA (manual, "SMTP Server Script"). */
export const SMTPSVR: Readonly<Record<string, CallbackDeclaration>> = {
  Start: declare("verdict", [], ["result string"], NO_POSITIVE),
  RBLResults: declare("verdict", [], ["result string"], NO_POSITIVE),
  GetMaxMessageSize: declare("value", ["hostname", "current"], ["bytes"]),
  GetEHLOCapabilities: declare(
    "value",
    ["hostname", "capabilities"],
    ["capabilities"],
    "removes keywords, where Postfix asks a socketmap (README.md); none can be added or changed",
  ),
  DoHELO: declare("verdict", ["hostname", "bRefuse", "bEHLO"], ["bRefuse", "response"], NO_POSITIVE),
  DoHELP: declare(
    "notice",
    ["text"],
    ["text"],
    "called only by Postfix before 3.9, and its text cannot be shown",
  ),
  DoQUIT: declare("notice", [], ["text"], NO_TEXT),
  DoRSET: declare("notice", [], ["text"], NO_TEXT),
  DoMAILFROM: declare(
    "verdict",
    ["data", "mailfrom", "parameters"],
    ["result string", "parameters"],
    NO_POSITIVE,
  ),
  DoRCPTTO: declare(
    "verdict",
    ["data", "recipient", "parameters", "recipients"],
    ["result string", "parameters"],
    NO_POSITIVE,
  ),
  DoRoute: declare(
    "verdict",
    ["sender", "recipient", "size", "attributes"],
    ["action"],
    "an extra of ours, called through the policy service alone (policy.listen)",
  ),
  DoDATAStart: declare("verdict", ["recipients"], ["result string", "header lines"], NO_POSITIVE),
  DoUnrecognised: declare(
    "verdict",
    ["line"],
    ["result string"],
    "Postfix before 3.10 passes the first word only, later ones ignore a 5xx; a 2xx text cannot be shown",
  ),
  ProcessMessage: declare(
    "verdict",
    ["mailfrom", "subject", "recipients", "actions", "mime", "size", "attachments"],
    ["actions", "results string"],
  ),
  End: declare("notice", [], []),
};

export const ERRORS_FILE = "ERRORS.LUA";

/** ERRORS.LUA (manual, "Error Handling"; ProcessMessage3 is later VPOP3's, called where ProcessError is absent). */
export const ERRORS: Readonly<Record<string, CallbackDeclaration>> = {
  ProcessError: declare(
    "value",
    [
      "itemid",
      "error text",
      "connection error",
      "subject resource id",
      "subject text",
      "message format resource id",
      "message format text",
      "message text parameters",
      "error message target",
      "error message sender",
    ],
    ["subject", "message format text", "target", "sender", "force message"],
  ),
  ProcessMessage3: declare(
    "value",
    [
      "component",
      "id",
      "type",
      "severity",
      "error",
      "connect_error",
      "title_id",
      "title",
      "template_id",
      "message",
      "target",
      "sender",
    ],
    ["title", "message", "target", "sender", "force"],
  ),
};

const SMTPSVR_UNSERVED: Readonly<Record<string, string>> = {
  DoNOOP: "Postfix tells a milter nothing of NOOP, so it is never called",
};

export const SIGNATURE_FILE = "SIGNATURE.LUA";

/** SIGNATURE.LUA (manual, "Signature Generation"; the subject is later VPOP3's). */
export const SIGNATURE: Readonly<Record<string, CallbackDeclaration>> = {
  GetSignature: declare("value", ["format", "authuser", "sender", "subject"], ["signature"]),
};

const SIGNATURE_UNSERVED: Readonly<Record<string, string>> = {
  GetInternalSignature: "mail between local users gets no signature, so it is never called",
};

export const PASSWORDCHECK_FILE = "PASSWORDCHECK.LUA";

/** PASSWORDCHECK.LUA (manual, "Password Validation"; a reason for the person is an extra of ours). */
export const PASSWORDCHECK: Readonly<Record<string, CallbackDeclaration>> = {
  Check: declare("value", ["user name", "new password", "min password length"], ["allowed", "reason"]),
};

export const USER_REDIRECT_FILE = "USER_REDIRECT.LUA";

/** USER_REDIRECT.LUA (manual, "Message Routing", which has both names of the settings function). */
export const USER_REDIRECT: Readonly<Record<string, CallbackDeclaration>> = {
  MainDoRouting: declare("verdict", ["user id"], ["text for the log"]),
  MainGetSettings: declare("value", ["user id"], ["rows"]),
  MailGetSettings: declare("value", ["user id"], ["rows"]),
};

export const RELAYOUT_FILE = "RELAYOUT.LUA";
export const MXOUT_FILE = "MXOUT.LUA";

/** RELAYOUT.LUA (manual, "Outgoing Mail - Relay"). */
export const RELAYOUT: Readonly<Record<string, CallbackDeclaration>> = {
  CheckFile: declare(
    "value",
    [
      "filename",
      "actions",
      "size",
      "file creation time",
      "return path",
      "recipients",
      "header data",
      "header lines",
    ],
    ["actions"],
  ),
};

/** MXOUT.LUA (manual, "Outgoing Mail - MX"). */
export const MXOUT: Readonly<Record<string, CallbackDeclaration>> = {
  CheckFile: declare(
    "value",
    [
      "filename",
      "actions",
      "size",
      "file creation time",
      "retries",
      "last try time",
      "return path",
      "recipients",
      "header data",
      "header lines",
    ],
    ["actions"],
  ),
};

export interface ServedScript {
  readonly callbacks: Readonly<Record<string, CallbackDeclaration>>;
  /** Callbacks of the manual that are never called, and why. */
  readonly unserved?: Readonly<Record<string, string>>;
  /** What holds while the script is broken or switched off, for the log; undefined is the script_error setting. */
  readonly withoutIt?: string;
}

/** The scripts that workers load and call for mail. */
export const SERVED_SCRIPTS: Readonly<Record<string, ServedScript>> = {
  [SMTPSVR_FILE]: { callbacks: SMTPSVR, unserved: SMTPSVR_UNSERVED },
  [ERRORS_FILE]: { callbacks: ERRORS, withoutIt: "notices stay as they are" },
  [SIGNATURE_FILE]: { callbacks: SIGNATURE, unserved: SIGNATURE_UNSERVED, withoutIt: "no signatures" },
  [USER_REDIRECT_FILE]: { callbacks: USER_REDIRECT },
};

/** Scripts that a command of the command line loads and calls; workers know nothing of them. */
export const COMMAND_SCRIPTS: Readonly<Record<string, ServedScript>> = {
  [PASSWORDCHECK_FILE]: { callbacks: PASSWORDCHECK },
};

/** Scripts that the queue worker loads and calls; the service's workers know nothing of them. */
export const QUEUE_SCRIPTS: Readonly<Record<string, ServedScript>> = {
  [RELAYOUT_FILE]: { callbacks: RELAYOUT, withoutIt: "messages go as they are" },
  [MXOUT_FILE]: { callbacks: MXOUT, withoutIt: "messages go as they are" },
};

/** Every script that somebody calls. */
export const CALLED_SCRIPTS: Readonly<Record<string, ServedScript>> = {
  ...SERVED_SCRIPTS,
  ...QUEUE_SCRIPTS,
  ...COMMAND_SCRIPTS,
};

/** VPOP3's other scripts, which this version finds but does not call. */
export const UNSERVED_SCRIPTS: readonly string[] = ["POP3CLT.LUA"];
