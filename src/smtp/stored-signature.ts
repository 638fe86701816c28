/**
 * Signatures in the store, for mail that SIGNATURE.LUA has none for: the user's
 * settings `Signature` and `HTMLSignature`, then the global settings of these
 * names. Where there is a plain one alone, it is shown in HTML, too.
 */
import { encodeText } from "../bytes.ts";
import type { Directory } from "../directory/directory.ts";
import type { SignatureFormat } from "../message/signature.ts";
import type { SignatureAnswer } from "../scripts/signature.ts";
import { unicodeOf } from "./route-addresses.ts";

/** Lower case. */
export const SIGNATURE_SETTINGS: readonly string[] = ["signature", "htmlsignature"];

const NAMES = { PLAIN: "Signature", HTML: "HTMLSignature" } as const;

/**
 * The signature of the user who has logged in, else of the one who has the sender address; byte strings.
 * @throws StoreUnavailable
 */
export async function storedSignature(
  { store }: Directory,
  format: SignatureFormat,
  { authUser, sender }: { readonly authUser: string; readonly sender: string },
): Promise<SignatureAnswer> {
  const user = await ownerOf(store, authUser, sender);
  const places: ((name: string) => Promise<string | undefined>)[] = [(name) => store.setting(name)];
  if (user !== undefined) places.unshift((name) => store.userSetting(user, name));
  for (const read of places) {
    const own = (await read(NAMES[format]))?.trim() ?? "";
    const plain = own === "" && format === "HTML" ? ((await read(NAMES.PLAIN))?.trim() ?? "") : "";
    const text = own || plain;
    if (text === "<blank>") return { kind: "blank" };
    if (text !== "") return { kind: "text", text: encodeText(plain === "" ? text : asHtml(text)) };
  }
  return { kind: "default" };
}

async function ownerOf(
  store: Directory["store"],
  authUser: string,
  sender: string,
): Promise<string | undefined> {
  const login = unicodeOf(authUser);
  const user = login === undefined || login === "" ? undefined : await store.user(login);
  if (user !== undefined) return user.name;
  const address = unicodeOf(sender)?.toLowerCase();
  const meaning = address === undefined || address === "" ? undefined : await store.lookup(address);
  return meaning?.kind === "user" ? meaning.user.name : undefined;
}

function asHtml(text: string): string {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<p>${escaped.replace(/\r?\n/g, "<br>\n")}</p>`;
}
