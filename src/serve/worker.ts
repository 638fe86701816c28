/**
 * A worker process: owns Lua, serves the milter connections that the primary
 * hands over. It listens to nobody but its primary, and ends when that goes.
 */
import type { Socket } from "node:net";
import type { Config } from "../config/load.ts";
import { createLog, type Log } from "../log.ts";
import { type MilterConnection, serveConnection } from "../milter/connection.ts";
import type { MilterFilter, Transport } from "../milter/filter.ts";
import type { ScriptOutput } from "../scripts/output.ts";
import { helperModules } from "./helpers.ts";
import type { ToPrimary, ToWorker } from "./messages.ts";
import { milterDoor } from "./milter-door.ts";
import { Service } from "./service.ts";

/** Runs until the primary says stop or is gone. */
export function runWorker(): void {
  let worker: Worker | undefined;
  process.on("disconnect", () => process.exit(0));
  // The terminal sends Ctrl-C to the whole group; stopping is the primary's decision.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => {});
  process.on("message", (message: ToWorker, socket?: Socket) => {
    if (message.type === "init") {
      worker = new Worker(message.config, message.text);
      void worker.start();
    } else if (message.type === "connection") {
      worker?.serve(message.id, message.transport, socket);
    } else {
      void worker?.stop(message.timeoutMs);
    }
  });
}

function tell(message: ToPrimary): void {
  process.send?.(message);
}

/** print and errors go to the one writer, the primary. */
const PRIMARY_OUTPUT: ScriptOutput = {
  print: (text) => tell({ type: "print", text }),
  error: (entry) => tell({ type: "scriptError", entry }),
};

class Worker {
  readonly #config: Config;
  readonly #log: Log;
  readonly #service: Service;
  readonly #door: MilterFilter;
  readonly #connections = new Set<MilterConnection>();

  constructor(config: Config, text: boolean) {
    this.#config = config;
    this.#log = createLog({ level: config.log_level, stream: process.stdout, text });
    this.#service = new Service(config, helperModules(config, this.#log), this.#log, PRIMARY_OUTPUT);
    this.#door = milterDoor(this.#service);
  }

  async start(): Promise<void> {
    await this.#service.load();
    tell({ type: "ready" });
  }

  serve(id: number, transport: Transport, socket: Socket | undefined): void {
    tell({ type: "taken", id });
    // The peer may have gone before the hand-over; there is nothing to serve then.
    if (socket === undefined) return;
    const connection = serveConnection(socket, transport, this.#door, {
      maxPacket: this.#config.milter.max_packet,
      idleTimeoutMs: this.#config.milter.idle_timeout_s * 1000,
      onProblem: (problem) => {
        const { id, code, event, error } = problem;
        this.#log.error("milter", { connection: id, code, event, problem: error.message });
      },
    });
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
  }

  async stop(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.stop(timeoutMs)));
    process.disconnect();
  }
}
