/** `postlua setting`: global settings, and the settings that are declared for users. */
import { readFileSync } from "node:fs";
import { DirectoryError } from "../directory/store.ts";
import { type Common, oneLine, print, shade, show, withStore } from "./directory.ts";

export function settingGet(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    const value = await store.setting(name);
    if (value === undefined) throw new DirectoryError(`there is no setting ${JSON.stringify(name)}`);
    return show(options.json, { name, value }, value);
  });
}

/** @param value "-" is standard input, without the last line end */
export function settingSet(name: string, value: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    const text = value === "-" ? readText() : value;
    await store.setSetting(name, text, { create: true });
    return show(options.json, { name, value: text }, `setting ${name} set`);
  });
}

function readText(): string {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(0));
    return text.replace(/\r?\n$/, "");
  } catch (error) {
    if (error instanceof TypeError) throw new DirectoryError("standard input is not UTF-8");
    throw error;
  }
}

export function settingList(options: Common & { readonly declared: boolean }): Promise<number> {
  return withStore(options, async (store) => {
    if (options.declared) {
      const declared = await store.definitions();
      const rows = declared.map(({ name, title, type, fallback }) => ({
        name,
        title,
        type,
        default: fallback,
      }));
      if (options.json) return show(true, rows, "");
      for (const { name, title, type, default: fallback } of rows) {
        await print(`${name} = ${oneLine(fallback)}${shade(` (${type}: ${title})`, "2")}\n`);
      }
      return 0;
    }
    const settings = await store.settings();
    if (options.json) return show(true, Object.fromEntries(settings), "");
    for (const [name, value] of settings) await print(`${name} = ${oneLine(value)}\n`);
    return 0;
  });
}

export function settingRemove(name: string, options: Common): Promise<number> {
  return withStore(options, async (store) => {
    if (!(await store.removeSetting(name))) {
      throw new DirectoryError(`there is no setting ${JSON.stringify(name)}`);
    }
    return show(options.json, { removed: name }, `setting ${name} removed`);
  });
}

export interface DefineOptions extends Common {
  readonly title?: string;
  readonly type: string;
  readonly default: string;
}

export function settingDefine(name: string, options: DefineOptions): Promise<number> {
  return withStore(options, async (store) => {
    const { title = name, type, default: fallback, json } = options;
    await store.define([{ name, title, type, fallback }]);
    return show(json, { name, title, type, default: fallback }, `setting ${name} declared for users`);
  });
}
