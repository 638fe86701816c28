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
import type { FilterNeeds, MilterContext, MilterFilter, Transport } from "../milter/filter.ts";
import { SERVED_SCRIPTS, USER_REDIRECT_FILE } from "../scripts/callbacks.ts";
import { knownScript, type ScriptState, tryScript } from "../scripts/loader.ts";
import { redirectOwner } from "../scripts/redirect-trial.ts";
import type { SessionContext } from "../smtp/session-script.ts";
import type { SharedSession } from "../smtp/shared-session.ts";
import { type SocketmapConnection, serveSocketmap } from "../socketmap/connection.ts";
import { keepCode } from "./code-cache.ts";
import { declareSettings } from "./declare-settings.ts";
import { makeDirectory } from "./directory.ts";
import type { DoorServices } from "./door.ts";
import { WorkerFigures } from "./figures.ts";
import { helperModules } from "./helpers.ts";
import { processLimits } from "./limits.ts";
import type {
  GivenScript,
  GivenScripts,
  Introduced,
  ScriptCandidate,
  ScriptProblem,
  ToWorker,
  UsersWithScripts,
} from "./messages.ts";
import { type MilterDoor, milterDoor } from "./milter-door.ts";
import { covers } from "./needs.ts";
import { answerPolicy } from "./policy-door.ts";
import { Service, SessionIds } from "./service.ts";
import { SharedSessions } from "./shared-sessions.ts";
import type { Meeting } from "./smtp-mail.ts";
import { type SocketmapLookup, socketmapDoor } from "./socketmap-door.ts";
import { StoredUses } from "./stored-uses.ts";
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
        return void worker.answer(message);
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
  #sessions: SharedSessions | undefined;
  /** What the scripts of a session that the policy service began need of a milter connection. */
  readonly #needs = new WeakMap<SharedSession, FilterNeeds>();
  /** Taken, and the primary has not let go of it yet. */
  readonly #taken: (() => void)[] = [];
  readonly #answering = new Set<Promise<void>>();
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
    this.#sessions ??= new SharedSessions({
      idleMs: config.policy.session_timeout_s * 1000,
      over: (key, number) => {
        this.#figures.touch();
        void tell({ type: "sessionOver", key, number });
      },
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
  async answer({ key, number, attributes }: ToWorker & { type: "policy" }): Promise<void> {
    const services = this.#current;
    const sessions = this.#sessions;
    if (services === undefined || sessions === undefined) return;
    const answering = answerPolicy(services, { sessions, key, number }, attributes)
      .then((answer) => tell({ type: "policyAnswer", number, answer }))
      .finally(() => this.#answering.delete(answering));
    this.#answering.add(answering);
    this.#figures.touch();
    const session = sessions.waiting(key);
    const needs = this.#door?.needs();
    if (session !== undefined && needs !== undefined && !this.#needs.has(session)) {
      this.#needs.set(session, needs);
    }
    await answering;
  }

  clientGone(key: string, number: number): void {
    this.#sessions?.release(key, number);
  }

  async try(candidate: ScriptCandidate): Promise<void> {
    const service = this.#service;
    if (service === undefined) return;
    try {
      const { engine, budgets } = service;
      const owner = redirectOwner(candidate.name);
      const { callbacks: known = {} } =
        SERVED_SCRIPTS[owner === undefined ? candidate.name : USER_REDIRECT_FILE] ?? {};
      const callbacks = await tryScript(engine, candidate, Object.keys(known), budgets.callback);
      if (owner !== undefined) await declareSettings(service, candidate, callbacks, owner);
      void tell({ type: "tried", callbacks });
    } catch (error) {
      void tell({ type: "tried", callbacks: [], problem: problemOf(error) });
    }
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
    await Promise.race([Promise.all(this.#answering), late]);
    await Promise.race([this.#sessions?.close(), late]);
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
    const door = introduced === undefined ? this.#door : this.#meeting(introduced);
    const over = () => {
      if (introduced !== undefined) this.#sessions?.unmet(introduced.key, introduced.number);
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

  /** For a connection whose session the policy service may know. */
  #meeting({ key, number, needs }: Introduced): MilterFilter | undefined {
    const door = this.#door;
    const sessions = this.#sessions;
    if (door === undefined || sessions === undefined) return undefined;
    const begun = sessions.waiting(key);
    const needed = [door.needs(), begun === undefined ? undefined : this.#needs.get(begun)];
    if (needs !== undefined && needed.some((one) => one !== undefined && !covers(needs, one))) {
      const problem =
        "scripts were changed between the negotiation and CONNECT; the client is asked to come back";
      this.#log?.warn("milter", { client: key, problem });
      return undefined;
    }
    const meeting: Meeting = {
      session: (create) => sessions.ofMilter(key, number, create),
      ended: (session) => sessions.ended(session),
      kept: (session) => sessions.kept(session),
    };
    const open = (context: MilterContext) => door.openFor(context, key === "" ? undefined : meeting);
    return { needs: () => needs ?? door.needs(), open };
  }

  async #report(): Promise<void> {
    const figures = this.#figures.take(this.#connections.size + (this.#sessions?.alone ?? 0));
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

function problemOf(error: unknown): ScriptProblem {
  if (!(error instanceof ScriptError)) throw error;
  return { message: error.message, details: error.details };
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
