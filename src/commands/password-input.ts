/**
 * Where passwords come in: a terminal that shows nothing of them, or standard
 * input. Never arguments or the environment, which other users can read.
 */
import { createInterface } from "node:readline/promises";
import type { Readable } from "node:stream";
import { Writable } from "node:stream";

/** It cannot be read; the message is a sentence for people. */
export class PasswordInputError extends Error {
  override name = "PasswordInputError";
}

const MAX_INPUT = 64 * 1024;

/**
 * All of `input` as one password: UTF-8, up to the first NUL (pam_exec may end it so), without one line end at
 * its end. Nothing else is taken away.
 * @throws PasswordInputError when it is no UTF-8 or far too long
 */
export async function readPassword(input: Readable): Promise<string> {
  const text = decode(await readAll(input));
  const nul = text.indexOf("\0");
  return nul < 0 ? text.replace(/\r?\n$/, "") : text.slice(0, nul);
}

/** The lines of `input`, as chpasswd(8) takes them. @throws PasswordInputError */
export async function readLines(input: Readable): Promise<string[]> {
  const lines = decode(await readAll(input, 64 * MAX_INPUT)).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

async function readAll(input: Readable, most = MAX_INPUT): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > most) throw new PasswordInputError(`there are more than ${most} bytes on standard input`);
  }
  return Buffer.concat(chunks);
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PasswordInputError("the password is not UTF-8; nothing is guessed about other charsets");
  }
}

/**
 * Asks twice on the terminal.
 * @throws PasswordInputError when there is no terminal, the two differ, or the person gives up (^C, ^D)
 */
export async function askPassword(): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new PasswordInputError("standard input is no terminal; hand the password over with --stdin");
  }
  // readline edits the line and echoes into nothing.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({
    input: process.stdin,
    output: nowhere,
    terminal: true,
    historySize: 0,
  });
  const gone = new AbortController();
  terminal.on("SIGINT", () => gone.abort());
  terminal.on("close", () => gone.abort());
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt);
    try {
      return await terminal.question("", { signal: gone.signal });
    } catch (error) {
      if (gone.signal.aborted) throw new PasswordInputError("given up; nothing is changed");
      throw error;
    } finally {
      process.stderr.write("\n");
    }
  };
  try {
    const first = await ask("New password: ");
    const again = await ask("Once more: ");
    if (first !== again) throw new PasswordInputError("the two are not the same; nothing is changed");
    return first;
  } finally {
    terminal.close();
  }
}
