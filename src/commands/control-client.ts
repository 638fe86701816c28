/** Talks to the running service over its control socket, for the commands that ask it something. */
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { getStaticTOMLValue, parseTOML } from "toml-eslint-parser";
import { ConfigError, parseConfig } from "../config/load.ts";

export const DEFAULT_CONFIG = "/etc/postlua/postlua.toml";
const DEFAULT_SOCKET = "/run/postlua/control.sock";

/** Where the service listens, and what is wrong with the file that should have said so, if anything is. */
export interface ControlPlace {
  readonly socket: string;
  readonly problems: readonly string[];
}

/**
 * The control socket that `file` names. A file that is wrong just now does not hide the service, nor does a missing
 * default file. @throws ConfigError when another file cannot be read
 */
export function controlPlace(file: string): ControlPlace {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const problem = `${file}: cannot be read (${code})`;
    // Another service would answer at the default socket than the one that was meant.
    if (file !== DEFAULT_CONFIG) throw new ConfigError([`${problem}; name another file with --config`]);
    return { socket: DEFAULT_SOCKET, problems: code === "ENOENT" ? [] : [problem] };
  }
  try {
    return { socket: parseConfig(text, file).control.socket, problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { socket: namedSocket(text) ?? DEFAULT_SOCKET, problems: error.problems };
  }
}

/** The control.socket of a file in which something else is wrong. */
function namedSocket(text: string): string | undefined {
  try {
    const { control } = getStaticTOMLValue(parseTOML(text)) as { control?: { socket?: unknown } };
    return typeof control?.socket === "string" ? control.socket : undefined;
  } catch {
    return undefined;
  }
}

/** Nobody answers at the socket, or not as postlua does; the message is for people. */
class ControlError extends Error {
  override name = "ControlError";
}

/**
 * Sends one request and prints its answer, as JSON or as `text` puts it.
 * @returns the answer; undefined when there was none, which was said on standard error
 */
export async function askAndPrint<T>(
  socket: string,
  [method, path]: readonly ["GET" | "POST", string],
  json: boolean,
  text: (answer: T) => string,
): Promise<T | undefined> {
  try {
    const answer = (await ask(socket, method, path)) as T;
    process.stdout.write(json ? `${JSON.stringify(answer, undefined, 2)}\n` : text(answer));
    return answer;
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    process.stderr.write(`postlua: ${error.message}\n`);
    return undefined;
  }
}

function ask(socket: string, method: "GET" | "POST", path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: socket, method, path, host: "postlua" }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new ControlError(`${socket}: ${response.statusCode} ${text.trim()}`));
      });
    });
    sent.on("error", (error: NodeJS.ErrnoException) => {
      reject(new ControlError(`${socket}: ${reason(error)}`));
    });
    sent.end();
  });
}

function reason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
      return "nobody answers; is postlua running, and with this control.socket?";
    case "EACCES":
    case "EPERM":
      return "not allowed; ask as root or as the user that postlua runs as";
    default:
      return error.message;
  }
}
