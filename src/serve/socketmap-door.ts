/**
 * The socketmap door: tables that Postfix looks up in the scripts. There is
 * one, `ehlo`, for smtpd_discard_ehlo_keyword_address_maps: keyed by client
 * address, its values are the EHLO keywords not to offer.
 *
 * A failed look-up would make Postfix answer EHLO with 421, so there is none:
 * what goes wrong is logged and answered with "not found".
 */
import type { EhloFacts } from "../config/ehlo.ts";
import { removedKeywords } from "../smtp/ehlo.ts";
import type { SocketmapReply, SocketmapRequest } from "../socketmap/protocol.ts";
import type { DoorServices } from "./door.ts";

export type SocketmapLookup = (request: SocketmapRequest) => Promise<SocketmapReply>;

export const EHLO_MAP = "ehlo";
const NOT_FOUND: SocketmapReply = { kind: "notFound" };

/** One for each set of scripts. */
export function socketmapDoor(services: DoorServices, ehlo: EhloFacts): SocketmapLookup {
  const warned = new Set<string>();
  return async ({ map, key }) => {
    if (map !== EHLO_MAP) {
      if (!warned.has("map"))
        services.log.error("socketmap", { problem: `no table is called "${map}"`, tables: EHLO_MAP });
      warned.add("map");
      return NOT_FOUND;
    }
    try {
      const removed = await removedKeywords(services, ehlo, key, services.newSessionId(), warned);
      if (removed.length === 0) return NOT_FOUND;
      // The answer takes the place of smtpd_discard_ehlo_keywords, and Postfix would log it for every connection.
      const words = new Set([
        "silent-discard",
        ...ehlo.discarded,
        ...removed.map((word) => word.toLowerCase()),
      ]);
      return { kind: "found", data: [...words].join(", ") };
    } catch (error) {
      services.log.error("socketmap", { problem: (error as Error).stack ?? String(error) });
      return NOT_FOUND;
    }
  };
}
