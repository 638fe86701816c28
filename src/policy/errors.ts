/**
 * What can go wrong, by whose fault: PolicyProtocolError is the peer's (its
 * connection closes), PolicyActionError is the owner's own (nothing of the
 * action is sent).
 */

export type ProtocolErrorCode =
  /** A line longer than `maxLine`. */
  | "ERR_POLICY_LINE_LIMIT"
  /** More attributes than `maxAttributes`. */
  | "ERR_POLICY_ATTRIBUTE_LIMIT"
  /** A request of more than `maxRequest` bytes. */
  | "ERR_POLICY_REQUEST_LIMIT"
  /** A line without "=", or with nothing before it. */
  | "ERR_POLICY_LINE"
  /** A NUL or CR, which no value may have. */
  | "ERR_POLICY_VALUE"
  /** An empty line where a request should begin. */
  | "ERR_POLICY_EMPTY"
  /** A request of another kind than smtpd_access_policy. */
  | "ERR_POLICY_REQUEST"
  /** The stream ended inside a request. */
  | "ERR_POLICY_TRUNCATED";

/** The peer broke the protocol. */
export class PolicyProtocolError extends Error {
  override name = "PolicyProtocolError";
  readonly code: ProtocolErrorCode;
  /** Bytes from the start of the stream. */
  readonly offset: number;

  /** `text` says what was expected and what was found. */
  constructor(code: ProtocolErrorCode, offset: number, text: string) {
    super(`byte ${offset}: ${text}`);
    this.code = code;
    this.offset = offset;
  }
}

/** An action that cannot be sent: Postfix would take it for another one, or for none. */
export class PolicyActionError extends Error {
  override name = "PolicyActionError";
}
