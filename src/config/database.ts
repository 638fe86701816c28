/** What `store.database` may be, and what its parts are. */
import { isAbsolute, join, parse } from "node:path";

const SQLITE = "sqlite:";

export interface PostgresPlace {
  /** A name, an address, or the directory of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** As libpq has them: with "require" the server's certificate is not looked at. */
  readonly sslmode: "disable" | "require" | "verify-full";
  /** File with the authority's certificate; default: the system's authorities. */
  readonly sslrootcert: string | undefined;
}

/** What is wrong with it, in words for the admin; undefined when nothing is. */
export function databaseProblem(text: string): string | undefined {
  if (text.startsWith(SQLITE)) {
    if (isAbsolute(text.slice(SQLITE.length))) return undefined;
    return 'must name a file by an absolute path, such as "sqlite:/var/lib/postlua/postlua.db"';
  }
  if (!/^postgres(?:ql)?:/.test(text) || !URL.canParse(text)) {
    return 'must look like "sqlite:/path/postlua.db" or "postgresql://user@host:5432/database"';
  }
  const { password, searchParams, pathname, username, hostname } = new URL(text);
  // The configuration may be read by more people than the password.
  if (password !== "" || searchParams.has("password")) {
    return "must not have a password in it; write that into a file and name it in store.password_file";
  }
  if (pathname.length < 2)
    return 'must name the database at its end, such as "postgresql://user@host:5432/database"';
  if (username === "" && !searchParams.has("user")) return 'must name the user: "postgresql://user@host/..."';
  if (hostname === "" && !searchParams.has("host")) return 'must name the host: "postgresql://user@host/..."';
  const unknown = [...searchParams.keys()].find((key) => !PARAMETERS.includes(key));
  if (unknown !== undefined) return `${unknown} is unknown; known after "?" are ${PARAMETERS.join(", ")}`;
  const mode = searchParams.get("sslmode");
  if (mode === null || SSL_MODES.some((known) => known === mode)) return undefined;
  return `sslmode must be one of ${SSL_MODES.join(", ")}`;
}

const PARAMETERS = ["host", "user", "sslmode", "sslrootcert"];
const SSL_MODES = ["disable", "require", "verify-full"] as const;

/** The file of "sqlite:FILE"; undefined for PostgreSQL. */
export function sqlitePath(text: string): string | undefined {
  return text.startsWith(SQLITE) ? text.slice(SQLITE.length) : undefined;
}

/** The file beside it that has the settings. */
export function settingsPath(path: string): string {
  const { dir, name, ext } = parse(path);
  return join(dir, `${name}-settings${ext}`);
}

/** The parts of a URL that has no `databaseProblem`. */
export function postgresPlace(text: string): PostgresPlace {
  const { hostname, port, username, pathname, searchParams } = new URL(text);
  return {
    host: searchParams.get("host") ?? decodeURIComponent(hostname).replace(/^\[(.+)\]$/, "$1"),
    port: Number(port || 5432),
    user: searchParams.get("user") ?? decodeURIComponent(username),
    database: decodeURIComponent(pathname.slice(1)),
    sslmode: SSL_MODES.find((mode) => mode === searchParams.get("sslmode")) ?? "disable",
    sslrootcert: searchParams.get("sslrootcert") ?? undefined,
  };
}
