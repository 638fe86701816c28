/** The helper modules that every script gets, made from the configuration. */
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import { messageModule } from "../helpers/message.ts";
import { directoryModule } from "../helpers/os-directory.ts";
import { processModule } from "../helpers/os-process.ts";
import { routingModule } from "../helpers/routing.ts";
import { vpop3Module } from "../helpers/vpop3.ts";
import { netModule } from "../helpers/vpop3net.ts";
import type { Log } from "../log.ts";
import type { LogFields } from "../log-line.ts";
import type { HostModule } from "../lua/host.ts";
import { Resolver } from "../net/dns.ts";
import { HttpClient } from "../net/http.ts";
import { Reach } from "../net/reach.ts";
import { WhoisClient } from "../net/whois.ts";
import type { SessionContext } from "../smtp/session-script.ts";

export type HelperSettings = Pick<Config, "data_dir" | "dns" | "http">;

/** @param directory without one, its helpers are missing */
export function helperModules(config: HelperSettings, log: Log, directory?: Directory): HostModule[] {
  const resolver = new Resolver({ servers: config.dns.servers, timeoutMs: config.dns.timeout_ms });
  const reach = new Reach({ resolver, forbidden: config.http.deny_networks });
  const timeoutMs = config.http.timeout_ms;
  return [
    netModule({
      resolver,
      http: new HttpClient({ reach, timeoutMs, maxBytes: config.http.max_body_bytes }),
      whois: new WhoisClient({ reach, timeoutMs }),
      debug: (line, context) => log.debug("helper", { ...owner(context), problem: line }),
    }),
    processModule({
      dataDir: config.data_dir,
      output: (program, line, context) => log.info("program", { ...owner(context), program, line }),
    }),
    directoryModule({ dataDir: config.data_dir }),
    messageModule(),
    routingModule(),
    ...(directory === undefined ? [] : [vpop3Module(directory)]),
  ];
}

/** Whose session a helper was called in; nobody's when a script is run by hand. */
function owner(context: object): LogFields {
  const { globals } = context as Partial<SessionContext>;
  return { session: globals?.SessionID, queue: globals?.QueueID };
}
