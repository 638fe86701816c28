/** A policy request, as far as a session looks at it; strings are "" where Postfix says nothing. */
export interface PolicyQuestion {
  /** CONNECT, HELO, EHLO, MAIL, RCPT, DATA, END-OF-MESSAGE, VRFY or ETRN. */
  readonly state: string;
  /** The client said EHLO, as far as that shows. */
  readonly extended: boolean;
  readonly heloName: string;
  readonly sender: string;
  readonly recipient: string;
  /** SIZE=, and the real size at END-OF-MESSAGE; bytes. */
  readonly size: number;
  readonly authUser: string;
  readonly tlsVersion: string;
  /** The client showed a certificate. */
  readonly certificate: boolean;
  /** Names the transaction; known from RCPT on. */
  readonly instance: string;
  readonly queueId: string;
  /** It is asked from smtpd_relay_restrictions. */
  readonly relaying: boolean;
  /** Equal for requests about the same step. */
  readonly step: string;
  readonly attributes: ReadonlyMap<string, string>;
}
