/** The parameters of postlua.toml as rows for people: read off the schema, so that they cannot differ from it. */
import { z } from "zod";
import { CONFIG } from "./schema.ts";

export interface Parameter {
  /** "scripts_dir", "limits.cpu_ms", "clients[].network". */
  readonly name: string;
  /** As it would be written in the file, "" when there is none. */
  readonly fallback: string;
  readonly meaning: string;
}

/** Every parameter, in the order of the schema. */
export function parameters(): Parameter[] {
  return rows(CONFIG, "");
}

function rows(table: z.ZodObject, prefix: string): Parameter[] {
  return Object.entries(table.shape).flatMap(([key, field]) => row(field as z.ZodType, `${prefix}${key}`));
}

function row(field: z.ZodType, name: string): Parameter[] {
  const inner = unwrap(field);
  if (inner instanceof z.ZodObject) return rows(inner, `${name}.`);
  if (inner instanceof z.ZodArray && inner.element instanceof z.ZodObject)
    return rows(inner.element, `${name}[].`);
  const fallback = field instanceof z.ZodDefault ? JSON.stringify(field.def.defaultValue) : "";
  return [{ name, fallback, meaning: field.description ?? (inner as z.ZodType).description ?? "" }];
}

function unwrap(field: z.ZodType): unknown {
  if (field instanceof z.ZodDefault || field instanceof z.ZodOptional || field instanceof z.ZodPrefault) {
    return unwrap(field.def.innerType as z.ZodType);
  }
  return field;
}
