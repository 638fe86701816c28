/**
 * A private Dovecot that does nothing but answer Postfix's question whether a
 * login is right (smtpd_sasl_type = dovecot): no ports, no mail, its own
 * directory, beside a system Dovecot or without one. For tests; needs root.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Parameters } from "./layout.ts";
import type { Scratch } from "./scratch.ts";

const DEADLINE_MS = 30_000;
const POLL_MS = 5;
const PROGRAMS = ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot"];

export interface DovecotOptions {
  /** Lives in the same scratch directory as the Postfix that asks it. */
  readonly scratch: Scratch;
  /** Password by login name; for a passwd-file. */
  readonly users?: Readonly<Record<string, string>>;
  /** Further lines of dovecot.conf, such as other passdbs. */
  readonly config?: string;
}

export class PrivateDovecot {
  readonly #child: ChildProcess;
  readonly #socket: string;
  readonly #exited: Promise<void>;

  private constructor(child: ChildProcess, socket: string) {
    this.#child = child;
    this.#socket = socket;
    this.#exited = new Promise((resolve) => child.once("exit", () => resolve()));
  }

  /** Resolves when logins can be asked about. Throws with Dovecot's log when it ends instead. */
  static async start({ scratch, users = {}, config = "" }: DovecotOptions): Promise<PrivateDovecot> {
    const program = PROGRAMS.find((path) => existsSync(path));
    if (program === undefined) throw new Error("dovecot is missing; postfix/setup.sh installs it");
    const base = join(scratch.path, "dovecot");
    mkdirSync(base, { recursive: true });
    const path = (name: string) => join(base, name);
    const lines = Object.entries(users).map(([name, password]) => `${name}:{PLAIN}${password}::::::\n`);
    writeFileSync(path("users"), lines.join(""));
    writeFileSync(
      path("dovecot.conf"),
      `base_dir = ${path("run")}
state_dir = ${path("state")}
log_path = ${path("log")}
ssl = no
protocols =
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
auth_username_format = %u
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ${path("users")}
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  unix_listener ${path("login")} {
    mode = 0666
  }
}
# Else each wrong password makes the next login wait.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
${config}
`,
    );
    const child = scratch.spawn(program, ["-F", "-c", path("dovecot.conf")], { stdio: "ignore" });
    const dovecot = new PrivateDovecot(child, path("login"));
    for (const end = Date.now() + DEADLINE_MS; !existsSync(path("login")); await delay(POLL_MS)) {
      if (child.exitCode === null && Date.now() < end) continue;
      await dovecot.stop();
      throw new Error(
        `dovecot did not start; its log:\n${existsSync(path("log")) ? readFileSync(path("log")) : ""}`,
      );
    }
    return dovecot;
  }

  /** For main.cf. */
  get parameters(): Parameters {
    return {
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: this.#socket,
      smtpd_sasl_security_options: "noanonymous",
    };
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.ref();
      this.#child.kill("SIGTERM");
      await this.#exited;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
