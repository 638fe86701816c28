/**
 * Global settings, users' settings and what scripts have declared, as work on
 * the tables. Whatever writes does so with its first statement: in SQLite that
 * takes the lock of the settings' own file.
 */
import { checkSettingName, checkText, nameKey } from "./names.ts";
import { DirectoryError, type SettingDefinition } from "./store.ts";
import { idOf } from "./users.ts";
import { first, rows, run, type Work } from "./work.ts";

interface SettingRow {
  readonly name: string;
  readonly value: string;
}

function toMap(found: readonly SettingRow[]): Map<string, string> {
  return new Map(found.map(({ name, value }) => [name, value]));
}

function checkValue(name: string, value: string): string {
  return checkText(value, `the value of ${JSON.stringify(name)}`);
}

export function* setting(name: string): Work<string | undefined> {
  const row = yield* first<SettingRow>("SELECT name, value FROM settings WHERE name_key = $1", nameKey(name));
  return row?.value;
}

export function* settings(): Work<Map<string, string>> {
  return toMap(yield* rows<SettingRow>("SELECT name, value FROM settings ORDER BY name_key"));
}

export function* setSetting(name: string, value: string, create: boolean): Work<boolean> {
  checkValue(name, value);
  const found = yield* first(
    "UPDATE settings SET value = $1 WHERE name_key = $2 RETURNING name_key",
    value,
    nameKey(name),
  );
  if (found !== undefined || !create) return found !== undefined;
  checkSettingName(name);
  // Somebody may have made it meanwhile.
  yield* run(
    `INSERT INTO settings (name_key, name, value) VALUES ($1, $2, $3)
     ON CONFLICT (name_key) DO UPDATE SET value = excluded.value`,
    nameKey(name),
    name,
    value,
  );
  return true;
}

export function* removeSetting(name: string): Work<boolean> {
  const removed = yield* first("DELETE FROM settings WHERE name_key = $1 RETURNING name_key", nameKey(name));
  return removed !== undefined;
}

export function* userSetting(user: string, name: string): Work<string | undefined> {
  const row = yield* first<SettingRow>(
    "SELECT name, value FROM user_settings WHERE user_key = $1 AND name_key = $2",
    nameKey(user),
    nameKey(name),
  );
  return row?.value;
}

export function* userSettings(user: string): Work<Map<string, string>> {
  return toMap(
    yield* rows<SettingRow>(
      "SELECT name, value FROM user_settings WHERE user_key = $1 ORDER BY name_key",
      nameKey(user),
    ),
  );
}

export function* userSettingNames(): Work<Set<string>> {
  const found = yield* rows<{ name_key: string }>("SELECT DISTINCT name_key FROM user_settings");
  return new Set(found.map(({ name_key }) => name_key));
}

export function* setUserSetting(user: string, name: string, value: string, create: boolean): Work<boolean> {
  checkValue(name, value);
  const found = yield* first(
    "UPDATE user_settings SET value = $1 WHERE user_key = $2 AND name_key = $3 RETURNING name_key",
    value,
    nameKey(user),
    nameKey(name),
  );
  if (found !== undefined || !create) return found !== undefined;
  checkSettingName(name);
  yield* idOf(user);
  yield* run(
    `INSERT INTO user_settings (user_key, name_key, name, value) VALUES ($1, $2, $3, $4)
     ON CONFLICT (user_key, name_key) DO UPDATE SET value = excluded.value`,
    nameKey(user),
    nameKey(name),
    name,
    value,
  );
  return true;
}

export function* removeUserSetting(user: string, name: string): Work<boolean> {
  const removed = yield* first(
    "DELETE FROM user_settings WHERE user_key = $1 AND name_key = $2 RETURNING name_key",
    nameKey(user),
    nameKey(name),
  );
  return removed !== undefined;
}

export function* definitions(): Work<SettingDefinition[]> {
  const found = yield* rows<SettingDefinition>(
    "SELECT name, title, type, fallback FROM definitions ORDER BY name_key",
  );
  return found.map(({ name, title, type, fallback }) => ({ name, title, type, fallback }));
}

export function* define(all: readonly SettingDefinition[]): Work<void> {
  for (const { name, title, type, fallback } of all) {
    checkSettingName(name);
    for (const [what, text] of Object.entries({ title, type, fallback })) {
      if (typeof text !== "string") throw new DirectoryError(`the setting ${name} has no ${what}`);
      checkText(text, `the ${what} of ${JSON.stringify(name)}`);
    }
    yield* run(
      `INSERT INTO definitions (name_key, name, title, type, fallback) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (name_key) DO UPDATE SET
         name = excluded.name, title = excluded.title, type = excluded.type, fallback = excluded.fallback`,
      nameKey(name),
      name,
      title,
      type,
      fallback,
    );
  }
}
