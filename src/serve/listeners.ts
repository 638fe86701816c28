/**
 * The milter's listening sockets. A unix socket whose file has been deleted is
 * made again; a file that somebody else has put there is left alone.
 */
import type { Socket } from "node:net";
import type { Log } from "../log.ts";
import type { Transport } from "../milter/filter.ts";
import { SocketListener } from "../milter/listener.ts";

export interface ListenSettings {
  readonly addresses: readonly string[];
  readonly mode: number;
  readonly group?: string | undefined;
  readonly accept: (socket: Socket, transport: Transport) => void;
}

interface Open {
  readonly address: string;
  listener: SocketListener;
  /** Nobody can connect, and that has been said. */
  lost: boolean;
}

const LOOK_MS = 1_000;

export class Listeners {
  readonly #settings: ListenSettings;
  readonly #log: Log;
  readonly #open: Open[] = [];
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  private constructor(settings: ListenSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
  }

  /** Listens on all addresses. @throws Error naming the address that cannot be had; none is open then */
  static async open(settings: ListenSettings, log: Log): Promise<Listeners> {
    const listeners = new Listeners(settings, log);
    try {
      for (const address of settings.addresses) {
        const listener = await listeners.#listen(address);
        listeners.#open.push({ address, listener, lost: false });
        log.info("listening", { address });
      }
    } catch (error) {
      await listeners.close();
      throw error;
    }
    listeners.#timer = setInterval(() => {
      listeners.#looking = listeners.#looking
        .then(() => listeners.#look())
        .catch((error: Error) => {
          log.error("socket file", { problem: error.message });
        });
    }, LOOK_MS);
    return listeners;
  }

  /** Takes no more connections. Those accepted live on. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    for (const { listener } of this.#open.splice(0)) await listener.close();
  }

  async #look(): Promise<void> {
    for (const open of this.#open) {
      const { file } = open.listener;
      if (file === "gone") await this.#again(open);
      if (file === "foreign" && !open.lost) {
        this.#log.error("socket file was replaced by another", { address: open.address });
        open.lost = true;
      }
    }
  }

  async #again(open: Open): Promise<void> {
    const { address } = open;
    try {
      const listener = await this.#listen(address);
      await open.listener.close();
      open.listener = listener;
      open.lost = false;
      this.#log.warn("socket file was deleted; listening again", { address });
    } catch (error) {
      if (!open.lost)
        this.#log.error("socket file was deleted", { address, problem: (error as Error).message });
      open.lost = true;
    }
  }

  #listen(address: string): Promise<SocketListener> {
    const { mode, group, accept } = this.#settings;
    return SocketListener.open(address, {
      mode,
      accept,
      ...(group === undefined ? {} : { group }),
      onError: (error) => this.#log.error("accept", { address, problem: error.message }),
    });
  }
}
