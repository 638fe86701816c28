/**
 * Milter connections up to CONNECT, read by the primary when there is a policy
 * service: only CONNECT tells which client it is, and its session belongs to
 * the worker that has answered policy requests about it.
 *
 * The MTA says nothing between CONNECT and its reply, so that no byte is lost
 * while the socket changes hands. The negotiation is answered from what the
 * workers have reported. A peer that says anything else goes to a worker as it
 * is, which finds the fault and reports it.
 */
import type { Socket } from "node:net";
import { decodeCommand, type MilterCommand } from "../milter/command.ts";
import { PacketDecoder } from "../milter/decoder.ts";
import type { ConnectEvent, FilterNeeds, Transport } from "../milter/filter.ts";
import { MacroTable } from "../milter/macros.ts";
import { encodeAgreement, negotiate } from "../milter/negotiate.ts";
import { together } from "./needs.ts";
import { clientKey } from "./owners.ts";
import type { Introduction, WorkerProcess } from "./worker-process.ts";

export interface MilterFrontOptions {
  readonly introduced: (socket: Socket, transport: Transport, introduction: Introduction) => void;
  readonly problem: (text: string) => void;
}

/** More than any MTA needs to introduce a client. */
const MAX_HEAD = 65_536;
const PATIENCE_MS = 30_000;

export class MilterFront {
  readonly #options: MilterFrontOptions;
  readonly #open = new Set<Introducing>();
  readonly #byWorker = new Map<WorkerProcess, FilterNeeds>();
  /** Of all workers together: who gets a connection shows only after its negotiation. */
  #needs: FilterNeeds | undefined;

  constructor(options: MilterFrontOptions) {
    this.#options = options;
  }

  /** What a worker's sessions need of the MTA. */
  learn(worker: WorkerProcess, needs: FilterNeeds): void {
    this.#byWorker.set(worker, needs);
    this.#needs = together([...this.#byWorker.values()]);
    for (const introducing of this.#open) introducing.run();
  }

  /** A worker is gone. Should it have been the last, its successors will need the same. */
  forget(worker: WorkerProcess): void {
    this.#byWorker.delete(worker);
    this.#needs = together([...this.#byWorker.values()]) ?? this.#needs;
  }

  /** Takes a connection whose socket is paused. */
  accept(socket: Socket, transport: Transport): void {
    const { introduced, problem } = this.#options;
    const introducing: Introducing = new Introducing(socket, transport, {
      needs: () => this.#needs,
      done: (introduction) => {
        this.#open.delete(introducing);
        if (introduction !== undefined) introduced(socket, transport, introduction);
      },
      problem,
    });
    this.#open.add(introducing);
  }

  close(): void {
    for (const introducing of this.#open) introducing.close();
  }
}

interface IntroducingOptions {
  readonly needs: () => FilterNeeds | undefined;
  /** Nothing more is read here; undefined when the connection has ended. */
  readonly done: (introduction: Introduction | undefined) => void;
  readonly problem: (text: string) => void;
}

class Introducing {
  readonly #socket: Socket;
  readonly #transport: Transport;
  readonly #options: IntroducingOptions;
  readonly #decoder = new PacketDecoder({ maxPacket: MAX_HEAD });
  readonly #macros = new MacroTable();
  readonly #timer: NodeJS.Timeout;
  #head: Buffer[] = [];
  #size = 0;
  /** A negotiation that nobody can answer before the workers have reported. */
  #offer: (MilterCommand & { kind: "optneg" }) | undefined;
  #negotiated: FilterNeeds | undefined;
  #done = false;

  constructor(socket: Socket, transport: Transport, options: IntroducingOptions) {
    this.#socket = socket;
    this.#transport = transport;
    this.#options = options;
    this.#timer = setTimeout(() => this.#fail("no CONNECT within 30 s"), PATIENCE_MS);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("close", () => this.#finish(undefined));
    socket.resume();
  }

  close(): void {
    this.#finish(undefined);
    this.#socket.destroy();
  }

  run(): void {
    if (this.#done) return;
    try {
      if (this.#offer !== undefined && !this.#negotiate(this.#offer)) return;
      for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
        if (!this.#take(decodeCommand(packet))) return;
      }
    } catch {
      this.#pass("");
    }
  }

  #receive(chunk: Buffer): void {
    if (this.#done) {
      // A worker has the socket, too; what was read here is missing there.
      this.#options.problem("the peer did not wait for the reply to CONNECT");
      this.#socket.destroy();
      return;
    }
    this.#head.push(chunk);
    this.#size += chunk.length;
    if (this.#size > MAX_HEAD) {
      this.#fail(`no CONNECT within ${MAX_HEAD} bytes`);
      return;
    }
    this.#decoder.push(chunk);
    if (this.#offer === undefined) this.run();
  }

  /** @returns whether to go on */
  #take(command: MilterCommand): boolean {
    switch (command.kind) {
      case "optneg":
        return this.#negotiate(command);
      case "macro":
        this.#macros.set(command.stage, command.values);
        return true;
      case "connect":
        this.#pass(keyOf(command.event, this.#macros.get("{daemon_port}") ?? ""));
        return false;
      case "quit":
        this.close();
        return false;
      default:
        this.#pass("");
        return false;
    }
  }

  #negotiate(offer: MilterCommand & { kind: "optneg" }): boolean {
    const known = this.#options.needs();
    this.#offer = known === undefined ? offer : undefined;
    if (known === undefined) return false;
    this.#negotiated = known;
    this.#socket.write(encodeAgreement(negotiate(offer, known, this.#transport)));
    return true;
  }

  #pass(key: string): void {
    const head = Buffer.concat(this.#head).toString("latin1");
    const needs = this.#negotiated;
    this.#finish({ key, head, ...(needs === undefined ? {} : { needs }) });
  }

  #fail(problem: string): void {
    this.#options.problem(problem);
    this.close();
  }

  #finish(introduction: Introduction | undefined): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#timer);
    this.#head = [];
    this.#options.done(introduction);
  }
}

/** Mail that did not come by SMTP has no client that policy requests could be about. */
function keyOf({ address, port }: ConnectEvent, serverPort: string): string {
  return clientKey(address, String(port), serverPort) ?? "";
}
