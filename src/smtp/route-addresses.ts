/**
 * What is known of the addresses that play a part in the routing of one
 * message; each is asked for once. Addresses are byte strings here and ordinary
 * text in the directory.
 */
import { isUtf8 } from "node:buffer";
import { encodeText, toBytes } from "../bytes.ts";
import type { Directory } from "../directory/directory.ts";
import { ExpansionError } from "../directory/expander.ts";
import type { TargetKind } from "./route-decide.ts";
import type { Leaf } from "./route-plan.ts";

export class Addresses {
  readonly #directory: Directory;
  readonly #sender: string;
  /** Told of an address that cannot be expanded, and why. */
  readonly #problem: (address: string, why: string) => void;
  readonly #expansions = new Map<string, Promise<readonly Leaf[] | undefined>>();
  readonly #targets = new Map<string, { readonly address: string; readonly kind: TargetKind }>();
  #senderUser: Promise<string | undefined> | undefined;

  constructor(directory: Directory, sender: string, problem: (address: string, why: string) => void) {
    this.#directory = directory;
    this.#sender = sender.toLowerCase();
    this.#problem = problem;
  }

  /** Where mail for an address ends; undefined when the MTA would fail to expand it, too. @throws StoreUnavailable */
  readonly expand = (address: string): Promise<readonly Leaf[] | undefined> => {
    let leaves = this.#expansions.get(address);
    if (leaves === undefined) {
      leaves = this.#expand(address);
      this.#expansions.set(address, leaves);
    }
    return leaves;
  };

  async #expand(address: string): Promise<readonly Leaf[] | undefined> {
    const text = unicodeOf(address);
    if (text === undefined) {
      this.#problem(address, "it is no UTF-8");
      return undefined;
    }
    try {
      const rows = await this.#directory.expander.expand(text);
      return rows
        .filter(({ list, deferredExpansion }) => !list || deferredExpansion)
        .map((row) => ({ address: encodeText(row.address), user: row.user }));
    } catch (error) {
      if (!(error instanceof ExpansionError)) throw error;
      this.#problem(address, error.message);
      return undefined;
    }
  }

  /** Finds out about an address, or a user's name, that somebody wants mail sent to. @throws StoreUnavailable */
  async learn(target: string): Promise<void> {
    if (this.#targets.has(target)) return;
    const address = await this.#addressOf(target);
    const usable = /^[^\s<>"\x00-\x1f\x7f]+$/.test(address) && unicodeOf(address) !== undefined;
    const leaves = usable ? await this.expand(address) : undefined;
    const somebody = leaves !== undefined && leaves.length > 0;
    const kind = !somebody ? "nobody" : (await this.#isSender(address, leaves)) ? "sender" : "somebody";
    this.#targets.set(target, { address, kind });
  }

  /** After `learn`. */
  kind(target: string): TargetKind {
    return this.#targets.get(target)?.kind ?? "nobody";
  }

  /** After `learn`: the address that a name stands for; an address itself. */
  resolved(target: string): string {
    return this.#targets.get(target)?.address ?? target;
  }

  async #addressOf(target: string): Promise<string> {
    const name = unicodeOf(target);
    if (name === undefined || target.includes("@")) return target;
    const user = await this.#directory.store.user(name);
    return encodeText(user?.addresses[0] ?? name);
  }

  async #isSender(address: string, leaves: readonly Leaf[]): Promise<boolean> {
    if (this.#sender === "") return false;
    if (address.toLowerCase() === this.#sender) return true;
    if (leaves.length !== 1 || leaves[0]?.user === undefined) return false;
    this.#senderUser ??= this.#findSender();
    return leaves[0].user === (await this.#senderUser);
  }

  async #findSender(): Promise<string | undefined> {
    const text = unicodeOf(this.#sender);
    const meaning = text === undefined ? undefined : await this.#directory.store.lookup(text);
    return meaning?.kind === "user" ? meaning.user.name : undefined;
  }
}

/** undefined for a byte string that is no UTF-8. */
export function unicodeOf(byteString: string): string | undefined {
  const bytes = toBytes(byteString);
  return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
}
