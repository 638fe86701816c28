/**
 * A milter server in one process: listeners, their connections, and an orderly
 * stop of both. Everything it does can also be had in pieces (listener.ts,
 * connection.ts) by programs that spread connections over processes.
 */
import type { Socket } from "node:net";
import type { MilterAddress } from "./address.ts";
import { type ConnectionOptions, type MilterConnection, serveConnection } from "./connection.ts";
import type { MilterFilter, Transport } from "./filter.ts";
import { type ListenerOptions, SocketListener } from "./listener.ts";

export interface ServerOptions
  extends Omit<ConnectionOptions, "id" | "head" | "negotiated">,
    Pick<ListenerOptions, "mode" | "group" | "backlog"> {
  /** Connections at a time; further ones are closed at once, which the MTA answers with its default action. Default: no limit. */
  readonly maxConnections?: number;
}

export class MilterServer {
  readonly #filter: MilterFilter;
  readonly #options: ServerOptions;
  readonly #listeners: SocketListener[] = [];
  readonly #connections = new Set<MilterConnection>();
  #stopping = false;

  constructor(filter: MilterFilter, options: ServerOptions = {}) {
    this.#filter = filter;
    this.#options = options;
  }

  /** Connections being served. */
  get connections(): number {
    return this.#connections.size;
  }

  /**
   * Listens on one more address (see parseAddress); resolves to the listener, whose `port` is the one in use.
   *
   * @throws as SocketListener.open
   */
  async listen(address: string | MilterAddress): Promise<SocketListener> {
    if (this.#stopping) throw new Error("the server was stopped");
    const { mode, group, backlog } = this.#options;
    const listener = await SocketListener.open(address, {
      accept: (socket, transport) => this.#accept(socket, transport),
      onError: (error) => this.#report("ERR_MILTER_SOCKET", error),
      ...(mode === undefined ? {} : { mode }),
      ...(group === undefined ? {} : { group }),
      ...(backlog === undefined ? {} : { backlog }),
    });
    this.#listeners.push(listener);
    return listener;
  }

  /**
   * Refuses new connections, closes those between messages and lets messages under way finish. What is not
   * finished after `timeoutMs` is answered with tempfail and closed. Resolves when nothing is left.
   */
  async stop(options: { readonly timeoutMs: number }): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    await Promise.all([...this.#connections].map((connection) => connection.stop(options.timeoutMs)));
  }

  #accept(socket: Socket, transport: Transport): void {
    const { maxConnections = Number.POSITIVE_INFINITY } = this.#options;
    if (this.#stopping || this.#connections.size >= maxConnections) {
      if (!this.#stopping) {
        this.#report("ERR_MILTER_BUSY", new Error(`more than ${maxConnections} connections`));
      }
      socket.destroy();
      return;
    }
    const connection = serveConnection(socket, transport, this.#filter, this.#options);
    this.#connections.add(connection);
    connection.closed.then(() => this.#connections.delete(connection));
  }

  #report(code: string, error: Error): void {
    this.#options.onProblem?.({ code, event: "", id: "", error });
  }
}
