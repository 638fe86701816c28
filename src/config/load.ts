/**
 * postlua.toml: read, parse, validate. An error names file, line and key and
 * says what to do; unknown keys are errors, nothing is guessed.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type AST, getStaticTOMLValue, ParseError, parseTOML } from "toml-eslint-parser";
import type { z } from "zod";
import { EHLO_PARAMETERS, type EhloFacts, ehloFacts } from "./ehlo.ts";
import { networkProblem } from "./networks.ts";
import { parameterValues, transportName, words } from "./postconf.ts";
import { CONFIG, type ConfigFile } from "./schema.ts";

/** A configuration error; `problems` are complete lines "FILE:LINE: key: what is wrong". */
export class ConfigError extends Error {
  override name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** What Postfix itself says, read once with postconf; empty strings when Postfix could not be asked. */
export interface PostfixFacts {
  readonly messageSizeLimit: number;
  readonly myNetworks: readonly string[];
  readonly defaultTransport: string;
  /** Names of the transports that its own domains take, and of those that deliver nothing. */
  readonly ownTransports: readonly string[];
  /** Domains that Postfix receives mail for, lower case, as far as main.cf itself lists them; ".x" is all below x. */
  readonly ownDomains: readonly string[];
  /** Whether main.cf itself lists them all. */
  readonly ownDomainsComplete: boolean;
  /** Local part of the sender of notices to the postmaster. */
  readonly doubleBounceSender: string;
  /** It shows a milter its notices (non_smtpd_milters, internal_mail_filter_classes). */
  readonly showsNotices: boolean;
  readonly ehlo: EhloFacts;
  /** Why Postfix could not be asked, "" when it could. */
  readonly problem: string;
}

export type Config = Omit<ConfigFile, "local_networks"> & {
  readonly file: string;
  readonly local_networks: readonly string[];
  readonly workers: number;
  readonly facts: PostfixFacts;
};

/**
 * Loads `file` and asks Postfix for the defaults that come from it.
 * @throws ConfigError when the file cannot be read, is no TOML or does not fit the schema.
 */
export async function loadConfig(file: string): Promise<Config> {
  return completeConfig(readConfig(file), file);
}

/** The file alone, for commands that have nothing to do with Postfix. @throws ConfigError as loadConfig does */
export function readConfig(file: string): ConfigFile {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError([
      `${file}: cannot be read (${(error as NodeJS.ErrnoException).code}); name another file with --config`,
    ]);
  }
  return parseConfig(text, file);
}

/** Adds what Postfix and the machine decide to a parsed file. */
export async function completeConfig(parsed: ConfigFile, file: string): Promise<Config> {
  const facts = await askPostfix(parsed.postfix.config_dir);
  return {
    ...parsed,
    file,
    facts,
    local_networks: parsed.local_networks ?? facts.myNetworks,
    workers: parsed.limits.workers ?? availableParallelism(),
  };
}

/** Parses and validates the text of a configuration file. @throws ConfigError */
export function parseConfig(text: string, file: string): ConfigFile {
  let ast: AST.TOMLProgram;
  try {
    // Windows editors begin a file with a byte order mark.
    ast = parseTOML(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    if (error instanceof ParseError) {
      throw new ConfigError([`${file}:${error.lineNumber}: ${error.message}`]);
    }
    throw error;
  }
  const result = CONFIG.safeParse(getStaticTOMLValue(ast));
  if (result.success) return result.data;
  const lines = keyLines(ast);
  const problems = result.error.issues.flatMap((issue) => describe(issue, lines, file));
  throw new ConfigError(problems.sort((a, b) => a.line - b.line).map((problem) => problem.text));
}

interface Problem {
  readonly line: number;
  readonly text: string;
}

function describe(issue: z.core.$ZodIssue, lines: Map<string, number>, file: string): Problem[] {
  const problem = (path: readonly PropertyKey[], what: string): Problem => {
    const line = lineOf(path, lines);
    return { line, text: `${file}:${line}: ${path.map(String).join(".")}: ${what}` };
  };
  if (issue.code !== "unrecognized_keys") return [problem(issue.path, issue.message)];
  return issue.keys.map((key) =>
    problem([...issue.path, key], "unknown key; see the parameter table in README.md"),
  );
}

/** The line of the longest known prefix of a path: a missing key is reported at its table. */
function lineOf(path: readonly PropertyKey[], lines: Map<string, number>): number {
  for (let n = path.length; n > 0; n--) {
    const line = lines.get(path.slice(0, n).join("\0"));
    if (line !== undefined) return line;
  }
  return 1;
}

function keyLines(ast: AST.TOMLProgram): Map<string, number> {
  const lines = new Map<string, number>();
  const note = (path: readonly (string | number)[], line: number) => {
    const key = path.join("\0");
    if (!lines.has(key)) lines.set(key, line);
  };
  const visitValue = (node: AST.TOMLContentNode, path: readonly (string | number)[]): void => {
    if (node.type === "TOMLArray") {
      node.elements.forEach((element, i) => {
        note([...path, i], element.loc.start.line);
        visitValue(element, [...path, i]);
      });
    } else if (node.type === "TOMLInlineTable") {
      for (const pair of node.body) visitPair(pair, path);
    }
  };
  const visitPair = (pair: AST.TOMLKeyValue, prefix: readonly (string | number)[]): void => {
    const names = pair.key.keys.map((k) => (k.type === "TOMLBare" ? k.name : k.value));
    for (let n = 1; n <= names.length; n++) note([...prefix, ...names.slice(0, n)], pair.loc.start.line);
    visitValue(pair.value, [...prefix, ...names]);
  };
  for (const node of ast.body[0].body) {
    if (node.type === "TOMLKeyValue") visitPair(node, []);
    else {
      const path = node.resolvedKey;
      for (let n = 1; n <= path.length; n++) note(path.slice(0, n), node.loc.start.line);
      for (const pair of node.body) visitPair(pair, path);
    }
  }
  return lines;
}

const NO_FACTS = {
  messageSizeLimit: 10_240_000,
  myNetworks: ["127.0.0.0/8", "::1/128"],
  defaultTransport: "smtp",
  ownTransports: ["local", "virtual", "relay", "error"],
  ownDomains: [],
  ownDomainsComplete: false,
  doubleBounceSender: "double-bounce",
  showsNotices: true,
  ehlo: ehloFacts(new Map([["message_size_limit", "10240000"]])),
};

/** error: what Postfix says of an address in virtual_alias_domains that no table has. */
const OWN_TRANSPORTS = ["local_transport", "virtual_transport", "relay_transport"];
const DOMAIN_LISTS = ["mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"];

async function askPostfix(configDir: string): Promise<PostfixFacts> {
  // postconf takes a second to find that out.
  if (!existsSync(join(configDir, "main.cf"))) return assumed(configDir, "it has no main.cf");
  const names = [
    "message_size_limit",
    "mynetworks",
    "default_transport",
    ...OWN_TRANSPORTS,
    "parent_domain_matches_subdomains",
    "double_bounce_sender",
    "non_smtpd_milters",
    "internal_mail_filter_classes",
    ...DOMAIN_LISTS,
    ...EHLO_PARAMETERS,
  ];
  try {
    const { stdout } = await promisify(execFile)("postconf", ["-c", configDir, "-x", ...names]);
    const values = parameterValues(stdout);
    return {
      messageSizeLimit: Number(values.get("message_size_limit")) || 0,
      // Postfix allows files and tables here; only what is an address can be taken over.
      myNetworks: words(values.get("mynetworks")?.replace(/[[\]]/g, "")).filter(
        (range) => networkProblem(range) === undefined,
      ),
      defaultTransport: transportName(values.get("default_transport") || NO_FACTS.defaultTransport),
      ownTransports: [...OWN_TRANSPORTS.map((name) => transportName(values.get(name))), "error"],
      showsNotices:
        (values.get("non_smtpd_milters") ?? "") !== "" &&
        /\bbounce\b/.test(values.get("internal_mail_filter_classes") ?? ""),
      ...domainsOf(values),
      ehlo: ehloFacts(values),
      doubleBounceSender: values.get("double_bounce_sender") || NO_FACTS.doubleBounceSender,
      problem: "",
    };
  } catch (error) {
    const reason = (error as { stderr?: string }).stderr?.trim() || (error as Error).message;
    return assumed(configDir, reason);
  }
}

/** What stands in tables and files is not looked up. */
function domainsOf(
  values: ReadonlyMap<string, string>,
): Pick<PostfixFacts, "ownDomains" | "ownDomainsComplete"> {
  const parents = words(values.get("parent_domain_matches_subdomains"));
  const listed: string[] = [];
  let ownDomainsComplete = true;
  for (const name of DOMAIN_LISTS) {
    for (const entry of words(values.get(name)?.toLowerCase())) {
      if (/^\.?[\w-][\w.-]*$/.test(entry)) {
        listed.push(entry);
        if (parents.includes(name) && !entry.startsWith(".")) listed.push(`.${entry}`);
      } else if (!/^\[.*\]$/.test(entry)) {
        ownDomainsComplete = false;
      }
    }
  }
  return { ownDomains: listed, ownDomainsComplete };
}

function assumed(configDir: string, reason: string): PostfixFacts {
  return {
    ...NO_FACTS,
    problem: `Postfix at ${configDir} could not be asked (${reason}); its defaults are assumed`,
  };
}
