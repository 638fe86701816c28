/** Lua values, verdicts and edits as people read them. */
import { decodeText } from "../bytes.ts";
import { LuaHeaderMap, type LuaInput, LuaOpaque, LuaTable, type LuaValue } from "../lua/values.ts";
import type { Edit } from "../message/edit.ts";

/** A value in Lua's own notation, on one line; long strings are cut at `most` characters. */
export function showValue(value: LuaInput | LuaValue, most = 200): string {
  if (value === undefined || value === null) return "nil";
  if (typeof value === "string") return showString(value, most);
  if (typeof value !== "object") return String(value);
  if (value instanceof Uint8Array) return showString(Buffer.from(value).toString("latin1"), most);
  if (value instanceof LuaOpaque) return value.type;
  if (Array.isArray(value)) return `{${value.map((item: LuaInput) => showValue(item, most)).join(", ")}}`;
  const entries = tableEntries(value);
  const list = entries.every(([key], i) => key === i + 1);
  const shown = entries.map(([key, item]) =>
    list
      ? showValue(item, most)
      : `${typeof key === "string" && /^\w+$/.test(key) ? key : `[${showValue(key, most)}]`} = ${showValue(item, most)}`,
  );
  return `{${shown.join(", ")}}`;
}

type Entry = [string | number | boolean, LuaInput | LuaValue];

function tableEntries(value: object): Entry[] {
  if (value instanceof LuaTable || value instanceof LuaHeaderMap) return [...value.entries] as Entry[];
  if (value instanceof Map) return [...(value as Map<string, LuaInput>)] as Entry[];
  return Object.entries(value) as Entry[];
}

function showString(value: string, most: number): string {
  const cut = value.length > most ? `${value.slice(0, most)}...` : value;
  return JSON.stringify(decodeText(cut));
}

/** A value for JSON output: tables become objects or lists, byte strings text. */
export function jsonValue(value: LuaInput | LuaValue): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return decodeText(value);
  if (typeof value !== "object") return value;
  if (value instanceof Uint8Array) return decodeText(Buffer.from(value).toString("latin1"));
  if (value instanceof LuaOpaque) return `(${value.type})`;
  if (Array.isArray(value)) return value.map((item: LuaInput) => jsonValue(item));
  const entries = tableEntries(value);
  if (entries.length > 0 && entries.every(([key], i) => key === i + 1)) {
    return entries.map(([, item]) => jsonValue(item));
  }
  return Object.fromEntries(entries.map(([key, item]) => [decodeText(String(key)), jsonValue(item)]));
}

export function showEdit(edit: Edit): string {
  switch (edit.kind) {
    case "addHeader":
      return `add header ${edit.name}:${decodeText(edit.value)}`;
    case "insertHeader":
      return `insert header at ${edit.index} ${edit.name}:${decodeText(edit.value)}`;
    case "changeHeader":
      return edit.value === ""
        ? `delete header ${edit.name} (number ${edit.index})`
        : `change header ${edit.name} (number ${edit.index}) to${decodeText(edit.value)}`;
    case "addRecipient":
      return `add recipient <${decodeText(edit.address)}> ${edit.parameters}`.trimEnd();
    case "deleteRecipient":
      return `delete recipient <${decodeText(edit.address)}>`;
    case "changeSender":
      return `change sender <${decodeText(edit.address)}> ${edit.parameters}`.trimEnd();
    case "replaceBody":
      return `replace body by ${edit.body.length} bytes`;
    case "quarantine":
      return `hold: ${decodeText(edit.reason)}`;
  }
}

/** An edit for JSON output. */
export function jsonEdit(edit: Edit): unknown {
  if (edit.kind === "replaceBody") return { kind: edit.kind, bytes: edit.body.length };
  return Object.fromEntries(
    Object.entries(edit).map(([key, value]) => [key, typeof value === "string" ? decodeText(value) : value]),
  );
}
