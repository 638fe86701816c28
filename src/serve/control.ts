/**
 * The control socket, and the metrics for Prometheus: HTTP over listeners that
 * the primary opens. Who may connect may command; the unix socket's mode 0600
 * is the access control, and the metrics' listener offers the metrics alone.
 */
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { SocketListener } from "../milter/listener.ts";

export interface ControlCommands {
  status(): Promise<object>;
  reload(): Promise<object>;
  metrics(): Promise<{ readonly type: string; readonly text: string }>;
}

type Commands = Partial<ControlCommands>;

/** One listener with its HTTP server. */
export class ControlServer {
  readonly #listener: SocketListener;
  readonly #http: Server;

  private constructor(listener: SocketListener, http: Server) {
    this.#listener = listener;
    this.#http = http;
  }

  /**
   * Offers `commands` at `address`: GET /status, POST /reload, GET /metrics.
   * @throws Error when it cannot be listened on
   */
  static async open(address: string, commands: Commands): Promise<ControlServer> {
    const http = createServer(answer(commands));
    const listener = await SocketListener.open(address, {
      mode: 0o600,
      accept: (socket) => {
        http.emit("connection", socket);
        socket.resume();
      },
    });
    return new ControlServer(listener, http);
  }

  /** The port in use; undefined for a unix socket. */
  get port(): number | undefined {
    return this.#listener.port;
  }

  async close(): Promise<void> {
    await this.#listener.close();
    this.#http.closeAllConnections();
  }
}

function answer(commands: Commands): RequestListener {
  return (request, response) => {
    const what = `${request.method} ${request.url}`;
    const done = handle(commands, what, response);
    if (done === undefined) send(response, 404, "text/plain", `no ${what} here\n`);
    else done.catch((error: Error) => send(response, 500, "text/plain", `${error.message}\n`));
  };
}

function handle(commands: Commands, what: string, response: ServerResponse): Promise<void> | undefined {
  const json = (value: object) =>
    send(response, 200, "application/json", `${JSON.stringify(value, undefined, 2)}\n`);
  switch (what) {
    case "GET /status":
      return commands.status?.().then(json);
    case "POST /reload":
      return commands.reload?.().then(json);
    case "GET /metrics":
      return commands.metrics?.().then(({ type, text }) => send(response, 200, type, text));
    default:
      return undefined;
  }
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { "content-type": type, connection: "close" });
  response.end(text);
}
