/** A header block as it lies in a queue file, taken apart: fields as they stand, nothing decoded. Never throws on content. */

/** The fields of a header block, "Name: value" with their folds, in order. */
export function headerLines(header: string): string[] {
  return header === "" ? [] : header.split(/\n(?![ \t])/);
}

/** Values by name in lower case, folds kept, white space around them removed; of several, the last (manual, "header data"). */
export function headerData(lines: readonly string[]): Map<string, string> {
  const data = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    data.set(line.slice(0, colon).trimEnd().toLowerCase(), line.slice(colon + 1).trim());
  }
  return data;
}
