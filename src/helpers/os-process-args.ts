/**
 * The command line of os.timedexecute, split without a shell.
 *
 * VPOP3's scripts were written for Windows, so its rules hold: blanks separate
 * arguments; double quotes keep blanks inside; \" is a quote, and so is "" in
 * a quoted part; backslashes stand for themselves unless a double quote
 * follows them (then two count for one). Single quotes, $, *, ~, ;, |, < and >
 * mean nothing.
 */

/** The program and its arguments; [] for a blank line, undefined when a quote is left open. */
export function splitCommand(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!;
    if (c === "\\") {
      let slashes = 1;
      while (line[i + slashes] === "\\") slashes++;
      i += slashes - 1;
      if (line[i + 1] !== '"') {
        word = (word ?? "") + "\\".repeat(slashes);
      } else {
        word = (word ?? "") + "\\".repeat(slashes >> 1);
        if (slashes % 2 === 1) {
          word += '"';
          i++;
        }
      }
    } else if (c === '"') {
      word ??= "";
      if (quoted && line[i + 1] === '"') {
        word += '"';
        i++;
      } else quoted = !quoted;
    } else if (!quoted && /[ \t\r\n]/.test(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + c;
  }
  if (quoted) return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
