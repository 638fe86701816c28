/**
 * A listening socket and nothing more: who serves what it accepts is decided
 * by its owner, maybe in another process (accepted sockets are paused, so that
 * no byte is lost on the way).
 *
 * A unix socket file left behind by a program that is gone is replaced; one
 * where a program answers, and a file that is no socket, never are. The file
 * is not open to anybody before mode and group are set.
 */

import { lookup } from "node:dns/promises";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { type MilterAddress, parseAddress } from "./address.ts";
import type { Transport } from "./filter.ts";

export interface ListenerOptions {
  /** Called for each connection, with the socket paused. */
  readonly accept: (socket: Socket, transport: Transport) => void;
  /** Told when accepting fails (no more file descriptors, say); listening goes on. */
  readonly onError?: (error: Error) => void;
  /** Mode of a unix socket's file. Default 0o660. */
  readonly mode?: number;
  /** Name or number of its group; default the process's own. */
  readonly group?: string;
  /** Connections that may wait to be accepted; the system has its own limit. Default 1024. */
  readonly backlog?: number;
}

export class SocketListener {
  readonly #server: Server;
  readonly #transport: Transport;
  #file: { readonly path: string; readonly inode: number } | undefined;

  /**
   * Listens on `address` (see parseAddress).
   *
   * @throws TypeError for an address that is none; Error with the system's code when it cannot be listened on:
   * EADDRINUSE when another program answers there, EEXIST when the path is no socket.
   */
  static async open(address: string | MilterAddress, options: ListenerOptions): Promise<SocketListener> {
    const parsed = typeof address === "string" ? parseAddress(address) : address;
    const listener = new SocketListener(parsed.kind === "unix" ? "unix" : "tcp", options);
    if (parsed.kind === "unix") await listener.#listenUnix(parsed.path, options);
    else await listener.#listenInternet(parsed, options);
    return listener;
  }

  private constructor(transport: Transport, options: ListenerOptions) {
    this.#transport = transport;
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      options.accept(socket, this.#transport);
    });
    this.#server.on("error", (error) => options.onError?.(error));
  }

  get transport(): Transport {
    return this.#transport;
  }

  /** The port in use, also where 0 asked for any; undefined for a unix socket. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : undefined;
  }

  /** Whether a unix socket's file is still this listener's; undefined for others. Without its file nobody can connect. */
  get file(): "own" | "gone" | "foreign" | undefined {
    const { path, inode } = this.#file ?? {};
    if (path === undefined) return undefined;
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return "gone";
    return found.ino === inode ? "own" : "foreign";
  }

  /** Stops listening and removes a unix socket's file if it is its own. Accepted connections live on. */
  close(): Promise<void> {
    if (this.#file !== undefined && this.file === "own") unlinkSync(this.#file.path);
    this.#file = undefined;
    // The server's own promise would wait for the connections, too.
    this.#server.close();
    return new Promise((resolve) => setImmediate(resolve));
  }

  async #listenUnix(path: string, options: ListenerOptions): Promise<void> {
    const group = options.group === undefined ? undefined : groupId(options.group);
    await removeStale(path);
    const { backlog = 1024, mode = 0o660 } = options;
    // Node removes, at its end, whatever then has the name that it has listened on; it is given one of no importance.
    const passing = join(dirname(path), `.${process.pid.toString(36)}`);
    await this.#listen(() => {
      rmSync(passing, { force: true });
      // The file appears within listen(); until its mode is set nobody else may use it.
      withUmask(0o777, () => this.#server.listen({ path: passing, backlog }));
      if (!this.#server.listening) return;
      if (group !== undefined) chownSync(passing, process.getuid?.() ?? 0, group);
      chmodSync(passing, mode);
      // Unlike a renaming, this replaces nobody's file.
      linkSync(passing, path);
      this.#file = { path, inode: lstatSync(passing).ino };
      unlinkSync(passing);
    });
  }

  async #listenInternet(address: MilterAddress & { kind: "inet" | "inet6" }, options: ListenerOptions) {
    const { kind, host, port } = address;
    const found = await lookup(host, { family: kind === "inet" ? 4 : 6 });
    const { backlog = 1024 } = options;
    await this.#listen(() => {
      this.#server.listen({ host: found.address, port, backlog, ipv6Only: kind === "inet6" });
    });
  }

  #listen(start: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error) => reject(error);
      this.#server.once("error", failed);
      this.#server.once("listening", () => {
        this.#server.off("error", failed);
        resolve();
      });
      try {
        start();
      } catch (error) {
        this.#server.close();
        reject(error);
      }
    });
  }
}

function withUmask(mask: number, action: () => void): void {
  let previous: number;
  try {
    previous = process.umask(mask);
  } catch {
    // A worker thread may not set it; the file then has the process's own mode for a moment.
    action();
    return;
  }
  try {
    action();
  } finally {
    process.umask(previous);
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    // Node reports this as a lack of permission.
    if (!existsSync(dirname(path))) throw systemError("ENOENT", `there is no folder ${dirname(path)}`);
    return;
  }
  if (!found.isSocket()) throw systemError("EEXIST", `${path} exists and is not a socket`);
  const outcome = await tryConnect(path);
  if (outcome === "connected") {
    throw systemError("EADDRINUSE", `another program is listening on ${path}`);
  }
  if (outcome === "ENOENT") return;
  if (outcome !== "ECONNREFUSED") {
    throw systemError(outcome, `cannot tell whether another program is listening on ${path}: ${outcome}`);
  }
  unlinkSync(path);
}

/** "connected", or the code of the system's error. */
function tryConnect(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = dial(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve("connected");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "EIO"));
  });
}

/** Node cannot look up groups; /etc/group is where a mail server's are. */
function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [name, , id] = line.split(":");
    if (name === group) return Number(id);
  }
  throw systemError("ENOENT", `there is no group ${JSON.stringify(group)} in /etc/group`);
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
