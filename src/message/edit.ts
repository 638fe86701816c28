/**
 * One edit of a message, applied in order. Header values carry no CR; folds
 * are "\n" followed by white space; the leading space is part of the value.
 */
export type Edit =
  | { readonly kind: "addHeader"; readonly name: string; readonly value: string }
  /** `index` 0 is above the MTA's own trace header, 1 right below it. */
  | { readonly kind: "insertHeader"; readonly index: number; readonly name: string; readonly value: string }
  /** `index` counts from 1 among the received fields of that name; "" deletes. */
  | { readonly kind: "changeHeader"; readonly name: string; readonly index: number; readonly value: string }
  /** `parameters` as after RCPT TO:<a>, e.g. "NOTIFY=NEVER"; "" for none. */
  | { readonly kind: "addRecipient"; readonly address: string; readonly parameters: string }
  /** `address` as it stood in RCPT TO, without <>. */
  | { readonly kind: "deleteRecipient"; readonly address: string }
  /** `parameters` as after MAIL FROM:<a>, e.g. "RET=HDRS ENVID=x"; "" for none. */
  | { readonly kind: "changeSender"; readonly address: string; readonly parameters: string }
  | { readonly kind: "replaceBody"; readonly body: Uint8Array }
  | { readonly kind: "quarantine"; readonly reason: string };
