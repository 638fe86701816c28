/** Who is talking to us, and the values that the configuration gives such a client on entry. */
import { type BlockList, isIP } from "node:net";
import type { Config } from "../config/load.ts";
import { inNetworks, networkSet } from "../config/networks.ts";
import type { SmtpGlobals } from "../scripts/smtpsvr.ts";

export interface Client {
  /** "192.0.2.1", "2001:db8::1", or "unknown" when the MTA did not say. */
  readonly address: string;
  /** 0 when unknown. */
  readonly port: number;
  readonly hostname: string;
  /** "sendmail": nobody connected, the mail was handed to sendmail(1) on this machine. Default "smtp". */
  readonly submission?: "smtp" | "sendmail";
}

/** Mail from this machine itself: there is no address to distrust, and nobody can log in. */
const FROM_SENDMAIL = {
  ValidClientAddress: true,
  LocalClientAddress: true,
  AuthenticationRequired: false,
  AllowedUsers: "",
  Submission: "sendmail",
} as const;

/** The address rules of a configuration, made ready once. */
export class ClientRules {
  readonly #valid: BlockList;
  readonly #local: BlockList;
  readonly #everybody: boolean;
  readonly #rows: readonly { set: BlockList; row: Config["clients"][number] }[];

  constructor(config: Pick<Config, "client_networks" | "local_networks" | "clients">) {
    this.#valid = networkSet(config.client_networks);
    this.#everybody = config.client_networks.includes("0.0.0.0/0");
    this.#local = networkSet(config.local_networks);
    this.#rows = config.clients.map((row) => ({ set: networkSet([row.network]), row }));
  }

  /** SMTPSVR.LUA's globals as they enter. A client of unknown address is valid where everybody is, and never local. */
  globals(client: Client, sessionId: string): SmtpGlobals {
    const { address } = client;
    const row = this.#rows.find(({ set }) => inNetworks(set, address))?.row;
    return {
      IPAddress: address,
      ValidClientAddress: isIP(address) === 0 ? this.#everybody : inNetworks(this.#valid, address),
      LocalClientAddress: inNetworks(this.#local, address),
      AuthenticationRequired: row?.authentication_required ?? false,
      AllowedUsers: row?.allowed_users ?? "",
      AuthUser: "",
      SessionID: sessionId,
      QueueID: "",
      TLSVersion: "",
      Submission: "smtp",
      ...(client.submission === "sendmail" ? FROM_SENDMAIL : {}),
    };
  }
}
