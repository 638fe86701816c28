/**
 * A worker process: owns Lua, serves the milter connections that the primary
 * hands over. It listens to nobody but its primary, takes scripts from it and
 * never from the disk, and ends when it goes.
 *
 * A connection keeps the script and the configuration it began with, also
 * when new ones come meanwhile.
 */
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../config/load.ts";
import type { Directory } from "../directory/directory.ts";
import { type AdjustableLog, createLog } from "../log.ts";
import { ScriptError } from "../lua/errors.ts";
import type { HostModule } from "../lua/host.ts";
import type { Monitor } from "../lua/monitor.ts";
import { type MilterConnection, serveConnection } from "../milter/connection.ts";
import type { MilterFilter, Transport } from "../milter/filter.ts";
import { USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { knownScript, type ScriptState } from "../scripts/loader.ts";
import type { SessionContext } from "../smtp/session-script.ts";
import { type SocketmapConnection, serveSocketmap } from "../socketmap/connection.ts";
import { keepCode } from "./code-cache.ts";
import { makeDirectory } from "./directory.ts";
import type { DoorServices } from "./door.ts";
import { WorkerFigures } from "./figures.ts";
import { helperModules } from "./helpers.ts";
import { processLimits } from "./limits.ts";
import { Meetings } from "./meetings.ts";
import type {
  GivenScript,
  GivenScripts,
  Introduced,
  ScriptCandidate,
  ToWorker,
  UsersWithScripts,
} from "./messages.ts";
import { type MilterDoor, milterDoor } from "./milter-door.ts";
import { Service, SessionIds } from "./service.ts";
import { type SocketmapLookup, socketmapDoor } from "./socketmap-door.ts";
import { StoredUses } from "./stored-uses.ts";
import { tryOut } from "./try-out.ts";
import { UserScriptCache } from "./user-script-cache.ts";
import { Vital } from "./vital.ts";
import { startWatchdog } from "./watchdog.ts";
import { tell, WorkerOutput } from "./worker-output.ts";

export interface WorkerOptions {
  /** Further modules for the scripts. */
  readonly modules?: readonly HostModule[];
}

const FIGURES_MS = 1_000;

/** Runs until the primary says stop or is gone. */
export function runWorker(options: WorkerOptions = {}): void {
  const worker = new Worker(options.modules ?? []);
  process.on("disconnect", () => process.exit(0));
  // The terminal sends Ctrl-C to the whole group; stopping is the primary's decision.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("message", (message: ToWorker, socket?: Socket) => {
    switch (message.type) {
      case "init":
        return worker.init(message);
      case "scripts":
        return worker.use(message);
      case "userScript":
        return worker.userScript(message.user, message.script);
      case "try":
        return void worker.try(message.candidate);
      case "connection":
        return worker.take(message, socket);
      case "go":
        return worker.go();
      case "policy":
        return worker.answer(message);
      case "clientGone":
        return worker.clientGone(message.key, message.number);
      case "ping":
        return void tell({ type: "pong" });
      case "stop":
        return void worker.stop(message.timeoutMs);
    }
  });
}

class Worker {
  readonly #modules: readonly HostModule[];
  readonly #vital = new Vital();
  readonly #figures = new WorkerFigures();
  readonly #output = new WorkerOutput(this.#figures);
  readonly #ids = new SessionIds();
  readonly #connections = new Set<MilterConnection>();
  readonly #tables = new Set<SocketmapConnection>();
  /** By what they were made from; those of an earlier configuration serve its sessions to their end. */
  readonly #directories = new Map<string, Directory>();
  #config: Config | undefined;
  #log: AdjustableLog | undefined;
  #service: Service | undefined;
  #door: MilterDoor | undefined;
  /** What sessions begin with now. */
  #current: DoorServices | undefined;
  #meetings: Meetings | undefined;
  /** Taken, and the primary has not let go of it yet. */
  readonly #taken: (() => void)[] = [];
  #states: ReadonlyMap<string, ScriptState> = new Map();
  readonly #userScripts = new UserScriptCache((user) => void tell({ type: "userScript", user }));
  #uses: StoredUses | undefined;
  #socketmap: SocketmapLookup | undefined;
  #stopping = false;

  constructor(modules: readonly HostModule[]) {
    this.#modules = modules;
  }

  init({ config, text, scripts, users }: ToWorker & { type: "init" }): void {
    const first = this.#config === undefined;
    this.#config = config;
    this.#log ??= createLog({ level: config.log_level, stream: process.stdout, text });
    this.#log.setLevel(config.log_level);
    const directory = this.#directory(config, this.#log);
    this.#service = new Service(
      config,
      [...helperModules(config, this.#log, directory), ...this.#modules],
      this.#log,
      this.#output,
      {
        ids: this.#ids,
        directory,
        monitor: monitor(this.#vital),
        trace: ({ script: name, callback, ms }) => this.#figures.callback(name, callback, ms),
        decided: (verdict) => this.#figures.message(verdict),
      },
    );
    this.#meetings ??= new Meetings({
      idleMs: config.policy.session_timeout_s * 1000,
      log: this.#log,
      touched: () => this.#figures.touch(),
    });
    this.#uses?.close();
    this.#uses = new StoredUses(directory.store, () => this.#openDoor());
    this.use({ scripts, users });
    if (!first) return;
    const { silenceMs, memoryMb } = processLimits(config);
    setInterval(() => void this.#report(), FIGURES_MS).unref();
    const watchdog = startWatchdog(this.#vital, { silenceMs, maxBytes: memoryMb * 1024 * 1024, text });
    void Promise.all([watchdog, this.#uses.known])
      .then(() => tell({ type: "ready" }))
      .then(keepCode);
  }

  /** For connections that begin from now on. */
  use({ scripts, users }: { readonly scripts: GivenScripts; readonly users: UsersWithScripts }): void {
    const service = this.#service;
    if (service === undefined) return;
    const states = Object.entries(scripts).map(([name, script]) => [name, stateOf(service, script)] as const);
    this.#states = new Map(states);
    this.#userScripts.forget(users);
    this.#openDoor();
  }

  /** The primary has answered. */
  userScript(user: string, script: GivenScript): void {
    const service = this.#service;
    if (service !== undefined) this.#userScripts.answer(user, stateOf(service, script));
  }

  #openDoor(): void {
    const service = this.#service;
    if (service === undefined) return;
    const routed = this.#states.get(USER_REDIRECT_FILE);
    const uses = {
      routing: this.#uses?.routing(routed, this.#userScripts.any) === true,
      signatures: this.#uses?.signatures === true,
    };
    const userScript = (user: string) => this.#userScripts.get(user);
    const services = service.with({ scripts: this.#states, userScript, uses });
    this.#current = services;
    this.#door = milterDoor(services);
    if (this.#config?.policy.listen.length !== 0) void tell({ type: "needs", needs: this.#door.needs() });
    const { ehlo } = (this.#config as Config).facts;
    this.#socketmap = socketmapDoor(services, ehlo);
  }

  /** A request of the policy service. */
  answer(request: ToWorker & { type: "policy" }): void {
    if (this.#current === undefined) return;
    void this.#meetings?.answer(this.#current, this.#door?.needs(), request);
  }

  clientGone(key: string, number: number): void {
    this.#meetings?.clientGone(key, number);
  }

  async try(candidate: ScriptCandidate): Promise<void> {
    if (this.#service !== undefined) void tell(await tryOut(this.#service, candidate));
  }

  take({ transport, door, introduced }: ToWorker & { type: "connection" }, socket: Socket | undefined): void {
    if (this.#stopping) {
      socket?.destroy();
      return;
    }
    if (introduced !== undefined) {
      this.#taken.push(() => this.#serve(transport, socket, introduced));
      void tell({ type: "taken" });
      return;
    }
    // Nothing is read before the acknowledgement has left: should this process die, the next one finds every byte.
    void tell({ type: "taken" }).then(() => {
      if (door === "socketmap") this.#serveSocketmap(socket);
      else this.#serve(transport, socket);
    });
  }

  /** The primary reads no more from the introduced connection that was taken. */
  go(): void {
    this.#taken.shift()?.();
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    const late = delay(timeoutMs, undefined, { ref: false });
    for (const connection of this.#tables) void connection.stop();
    await Promise.all([...this.#connections].map((connection) => connection.stop(timeoutMs)));
    await this.#meetings?.stop(late);
    await Promise.all([...this.#directories.values()].map((directory) => directory.close()));
    this.#figures.touch();
    await this.#report();
    await this.#output.flush();
    process.disconnect();
  }

  #directory(config: Config, log: AdjustableLog): Directory {
    const key = JSON.stringify([config.store, config.postfix]);
    const directory = this.#directories.get(key) ?? makeDirectory(config, log);
    this.#directories.set(key, directory);
    return directory;
  }

  #serve(transport: Transport, socket: Socket | undefined, introduced?: Introduced): void {
    const config = this.#config;
    let door: MilterFilter | undefined = this.#door;
    if (introduced !== undefined && this.#door !== undefined) {
      door = this.#meetings?.introduce(this.#door, introduced);
    }
    const over = () => {
      if (introduced !== undefined) this.#meetings?.over(introduced);
    };
    if (door === undefined) socket?.destroy();
    // The peer may have gone before the hand-over; there is nothing to serve then.
    if (socket === undefined || config === undefined || door === undefined) {
      over();
      return;
    }
    const connection = serveConnection(socket, transport, door, {
      maxPacket: config.milter.max_packet,
      ...(introduced === undefined ? {} : { head: Buffer.from(introduced.head, "latin1") }),
      negotiated: introduced?.needs !== undefined,
      idleTimeoutMs: config.milter.idle_timeout_s * 1000,
      onProblem: ({ id, code, event, error }) => {
        this.#log?.error("milter", { connection: id, code, event, problem: error.message });
      },
    });
    this.#connections.add(connection);
    this.#figures.touch();
    void connection.closed.then(() => {
      this.#connections.delete(connection);
      this.#figures.touch();
      over();
    });
    // It came in while the stop had begun already.
    if (this.#stopping) void connection.stop(0);
  }

  /** Kept by a Postfix process over many sessions, so that each request is answered by the scripts of its time. */
  #serveSocketmap(socket: Socket | undefined): void {
    if (socket === undefined) return;
    const connection = serveSocketmap(socket, {
      lookup: (request) => this.#socketmap?.(request) ?? { kind: "notFound" },
      onProblem: (problem) => this.#log?.error("socketmap", { problem: problem.message }),
    });
    this.#tables.add(connection);
    void connection.closed.then(() => this.#tables.delete(connection));
    if (this.#stopping) void connection.stop();
  }

  async #report(): Promise<void> {
    const figures = this.#figures.take(this.#connections.size + (this.#meetings?.alone ?? 0));
    if (figures !== undefined) await tell({ type: "figures", figures });
  }
}

function stateOf(service: Service, given: GivenScript): ScriptState {
  if (given.kind === "absent") return given;
  if (given.kind === "broken") {
    return { kind: "broken", error: new ScriptError(given.problem.message, given.problem.details) };
  }
  const { version } = given;
  return { kind: "loaded", loaded: knownScript(service.engine, version, version.callbacks) };
}

function monitor(vital: Vital): Monitor {
  return {
    enter(context, script, callback) {
      const { globals } = context as Partial<SessionContext>;
      vital.enter(globals?.SessionID ?? "", globals?.QueueID ?? "", script, callback);
    },
    at: (line) => vital.at(line),
    leave: () => vital.leave(),
  };
}
