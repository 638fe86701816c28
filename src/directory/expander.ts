/**
 * What expanding an address answers: the recipients that mail to it would
 * reach, as Postfix would deliver it (manual, "VPOP3.ExpandAddress").
 */

export interface ExpandedAddress {
  /** A local mailbox by its store name, else its address; a list by its name; anything else by its address. */
  readonly name: string;
  /** The full address, lower case, that mail for this row goes to; quoted where SMTP wants it so. */
  readonly address: string;
  /** Name of the store's user whose mailbox it is; undefined for everything else. */
  readonly user: string | undefined;
  readonly list: boolean;
  /** For a list: true when its members do not follow in this answer. */
  readonly deferredExpansion: boolean;
  /** It leaves this system. */
  readonly remote: boolean;
  /** It leaves for a host of our own (relay_domains); then it is remote, too. */
  readonly forwarded: boolean;
  /** Where a local alias pipes into a program or appends to a file; `name` says which, `address` is the alias. */
  readonly target?: "program" | "file";
}

export interface Expander {
  /**
   * @param address as in RCPT TO, without <>
   * @returns the rows in the order Postfix meets them, none for an unknown local address
   * @throws ExpansionError when Postfix itself would fail to expand it: an alias loop, a table that cannot be read
   * @throws StoreUnavailable
   */
  expand(address: string, signal?: AbortSignal): Promise<readonly ExpandedAddress[]>;
  close(): Promise<void>;
}

/** Postfix would answer 451 for this address; the message says why. */
export class ExpansionError extends Error {
  override name = "ExpansionError";
}
