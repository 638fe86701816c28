/** What postconf prints, and values of main.cf, taken apart. */

/** Parameters by name from lines "name = value"; other lines are passed over. */
export function parameterValues(output: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of output.split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) values.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
  }
  return values;
}

/** The words of a list without tables in braces, such as defer_transports. */
export function words(value: string | undefined): string[] {
  return (value ?? "").split(/[\s,]+/).filter((word) => word !== "");
}

/** "smtp:[host]" names the transport smtp. */
export function transportName(value: string | undefined): string {
  return value?.split(":")[0]?.trim() ?? "";
}
