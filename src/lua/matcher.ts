/**
 * Runs a compiled pattern over bytes: Lua's backtracking matcher without
 * recursion, so neither a long subject nor a long pattern can exhaust a stack.
 *
 * It counts its steps, one for about as much work as one VM instruction, and
 * stops after a given number (PAUSED) with its whole state in the object; the
 * caller charges them to the budget and calls again. It tries alternatives in
 * exactly the order of Lua 5.0, so captures agree with it.
 */
import { OP, type Pattern } from "./pattern.ts";

/** 5.0's limit on captures. */
const MAX_CAPTURES = 32;
/** Lengths that are no lengths. */
const UNFINISHED = -1;
const POSITION = -2;

export const FOUND = 1;
export const NOT_FOUND = 0;
/** `error` holds the message. */
export const FAILED = -1;
/** The steps allowed are spent; go on with resume(). */
export const PAUSED = -2;

/** Every choice point is three numbers: instruction, position now, last position to try (or capture to undo). */
const FRAME = 3;

export class Matcher {
  /** Of the match found: 0-based, `end` exclusive. */
  start = 0;
  end = 0;
  captures = 0;
  error = "";
  /** Steps taken since the owner last set this to 0. */
  steps = 0;
  #pattern!: Pattern;
  #subject!: Uint8Array;
  #pc = 0;
  #at = 0;
  #depth = 0;
  #single = false;
  #stack = new Int32Array(FRAME * 64);
  readonly #capStart = new Int32Array(MAX_CAPTURES);
  readonly #capLength = new Int32Array(MAX_CAPTURES);

  /**
   * Looks for the first match that starts at `from` or later; only at `from`
   * when the pattern is anchored or `single` is set. At most about `allowed` steps.
   */
  search(pattern: Pattern, subject: Uint8Array, from: number, single: boolean, allowed: number): number {
    // A failing item is on the stack at most once for each instruction, so this is all it can need.
    const room = pattern.ops.length * FRAME;
    if (this.#stack.length < room) this.#stack = new Int32Array(room);
    this.#pattern = pattern;
    this.#subject = subject;
    this.#single = single || pattern.anchored;
    this.start = from;
    this.#at = from;
    this.#pc = 0;
    this.#depth = 0;
    this.captures = 0;
    return this.#run(allowed);
  }

  resume(allowed: number): number {
    return this.#run(allowed);
  }

  /** Whether capture `i` (from 0) is a position, `()`: captureStart is where, captureEnd has no meaning. */
  isPosition(i: number): boolean {
    return this.#capLength[i] === POSITION;
  }

  /** Whether capture `i` was opened and never closed: its value is an error. */
  isUnfinished(i: number): boolean {
    return this.#capLength[i] === UNFINISHED;
  }

  captureStart(i: number): number {
    return this.#capStart[i]!;
  }

  captureEnd(i: number): number {
    return this.#capStart[i]! + this.#capLength[i]!;
  }

  /** Moves `start` to the next place where the first instruction can match, or past the end. */
  #skip(): void {
    const { ops, kinds, args, sets } = this.#pattern;
    const subject = this.#subject;
    let pc = 0;
    while (ops[pc] === OP.OPEN || ops[pc] === OP.POSITION) pc++;
    if (pc > MAX_CAPTURES) return;
    const op = ops[pc]!;
    if (op !== OP.CHAR && op !== OP.SET && op !== OP.PLUS) return;
    const from = this.start;
    if (kinds[pc] === OP.CHAR) {
      const found = subject.indexOf(args[pc]!, from);
      this.start = found < 0 ? subject.length + 1 : found;
    } else if (kinds[pc] === OP.SET) {
      const set = sets[pc]!;
      let i = from;
      while (i < subject.length && set[subject[i]!] === 0) i++;
      this.start = i === subject.length ? i + 1 : i;
    }
    this.steps += (this.start - from) >> 4;
  }

  #run(allowed: number): number {
    const pattern = this.#pattern;
    const subject = this.#subject;
    let budget = allowed;
    for (;;) {
      if (this.#pc === 0 && this.#depth === 0 && this.#at === this.start) {
        if (!this.#single) {
          this.#skip();
          this.#at = this.start;
          if (this.start > subject.length) return NOT_FOUND;
        }
        this.captures = 0;
      }
      const before = this.steps;
      const status = this.#match(pattern, subject, budget);
      if (status !== NOT_FOUND) return status;
      budget -= this.steps - before;
      if (this.#single || this.start >= subject.length) return NOT_FOUND;
      this.start++;
      this.#at = this.start;
      this.#pc = 0;
      this.#depth = 0;
      if (budget <= 0) return PAUSED;
    }
  }

  /** One attempt at `start`, from wherever #pc, #at and #depth say. */
  #match(pattern: Pattern, subject: Uint8Array, allowed: number): number {
    const { ops, kinds, args, sets } = pattern;
    const stack = this.#stack;
    const length = subject.length;
    let pc = this.#pc;
    let s = this.#at;
    let sp = this.#depth;
    let steps = 0;
    for (;;) {
      // Forward: leaves the switch by break when the item does not match.
      forward: for (;;) {
        if (++steps > allowed) {
          this.#pc = pc;
          this.#at = s;
          this.#depth = sp;
          this.steps += steps;
          return PAUSED;
        }
        switch (ops[pc]) {
          case OP.CHAR:
            if (s < length && subject[s] === args[pc]) {
              s++;
              pc++;
              continue;
            }
            break forward;
          case OP.SET:
            if (s < length && sets[pc]![subject[s]!] === 1) {
              s++;
              pc++;
              continue;
            }
            break forward;
          case OP.ANY:
            if (s < length) {
              s++;
              pc++;
              continue;
            }
            break forward;
          case OP.STAR:
          case OP.PLUS: {
            const from = s;
            const kind = kinds[pc];
            if (kind === OP.ANY) s = length;
            else if (kind === OP.CHAR) {
              const c = args[pc];
              while (s < length && subject[s] === c) s++;
            } else {
              const set = sets[pc]!;
              while (s < length && set[subject[s]!] === 1) s++;
            }
            steps += (s - from) >> 3;
            const least = ops[pc] === OP.PLUS ? from + 1 : from;
            if (s < least) break forward;
            if (s > least) {
              stack[sp] = pc;
              stack[sp + 1] = s;
              stack[sp + 2] = least;
              sp += FRAME;
            }
            pc++;
            continue;
          }
          case OP.MINUS:
            stack[sp] = pc;
            stack[sp + 1] = s;
            sp += FRAME;
            pc++;
            continue;
          case OP.OPTIONAL:
            if (s < length && matchesOne(kinds[pc]!, args[pc]!, sets[pc], subject[s]!)) {
              stack[sp] = pc;
              stack[sp + 1] = s;
              sp += FRAME;
              s++;
            }
            pc++;
            continue;
          case OP.OPEN:
          case OP.POSITION: {
            const level = this.captures;
            if (level >= MAX_CAPTURES) return this.#fail("too many captures", steps);
            this.#capStart[level] = s;
            this.#capLength[level] = ops[pc] === OP.OPEN ? UNFINISHED : POSITION;
            this.captures = level + 1;
            stack[sp] = pc;
            sp += FRAME;
            pc++;
            continue;
          }
          case OP.CLOSE: {
            let level = this.captures - 1;
            while (level >= 0 && this.#capLength[level] !== UNFINISHED) level--;
            if (level < 0) return this.#fail("invalid pattern capture", steps);
            this.#capLength[level] = s - this.#capStart[level]!;
            stack[sp] = pc;
            stack[sp + 1] = level;
            sp += FRAME;
            pc++;
            continue;
          }
          case OP.BALANCE: {
            const after = balance(subject, s, args[pc]!);
            steps += ((after < 0 ? length : after) - s) >> 3;
            if (after < 0) break forward;
            s = after;
            pc++;
            continue;
          }
          case OP.FRONTIER: {
            const set = sets[pc]!;
            const previous = s === 0 ? 0 : subject[s - 1]!;
            const next = s < length ? subject[s]! : 0;
            if (set[previous] === 1 || set[next] === 0) break forward;
            pc++;
            continue;
          }
          case OP.BACKREF: {
            const i = args[pc]!;
            if (i < 0 || i >= this.captures || this.#capLength[i] === UNFINISHED)
              return this.#fail("invalid capture index", steps);
            const size = this.#capLength[i]!;
            const from = this.#capStart[i]!;
            // A position capture has no text, so nothing repeats it.
            if (size < 0 || length - s < size) break forward;
            let k = 0;
            while (k < size && subject[from + k] === subject[s + k]) k++;
            steps += k >> 3;
            if (k < size) break forward;
            s += size;
            pc++;
            continue;
          }
          case OP.AT_END:
            if (s === length) {
              pc++;
              continue;
            }
            break forward;
          case OP.END:
            this.end = s;
            this.steps += steps;
            return FOUND;
          default:
            return this.#fail(pattern.errors[args[pc]!]!, steps);
        }
      }
      // Back: the newest choice that has another way out.
      backward: for (;;) {
        if (sp === 0) {
          this.steps += steps;
          return NOT_FOUND;
        }
        steps++;
        const top = sp - FRAME;
        pc = stack[top]!;
        switch (ops[pc]) {
          case OP.STAR:
          case OP.PLUS: {
            const least = stack[top + 2]!;
            let to = stack[top + 1]! - 1;
            if (ops[pc + 1] === OP.CHAR) {
              const wanted = args[pc + 1];
              const from = to;
              while (to > least && subject[to] !== wanted) to--;
              steps += (from - to) >> 3;
            }
            if (to === least) sp = top;
            else stack[top + 1] = to;
            s = to;
            pc++;
            break backward;
          }
          case OP.MINUS: {
            const kind = kinds[pc]!;
            const c = args[pc]!;
            const set = sets[pc];
            let to = stack[top + 1]!;
            if (ops[pc + 1] === OP.CHAR) {
              const wanted = args[pc + 1];
              const from = to;
              while (to < length && matchesOne(kind, c, set, subject[to]!)) {
                to++;
                if (to < length && subject[to] === wanted) break;
              }
              steps += (to - from) >> 3;
              if (to === from || to >= length) {
                sp = top;
                continue;
              }
            } else if (to < length && matchesOne(kind, c, set, subject[to]!)) to++;
            else {
              sp = top;
              continue;
            }
            stack[top + 1] = to;
            s = to;
            pc++;
            break backward;
          }
          case OP.OPTIONAL:
            sp = top;
            s = stack[top + 1]!;
            pc++;
            break backward;
          case OP.CLOSE:
            this.#capLength[stack[top + 1]!] = UNFINISHED;
            sp = top;
            continue;
          default:
            this.captures--;
            sp = top;
        }
      }
    }
  }

  #fail(message: string, steps: number): number {
    this.error = message;
    this.steps += steps;
    return FAILED;
  }
}

function matchesOne(kind: number, c: number, set: Uint8Array | undefined, byte: number): boolean {
  return kind === OP.SET ? set![byte] === 1 : kind === OP.ANY || byte === c;
}

/** The position after the balanced text that starts at `s`, or -1. */
function balance(subject: Uint8Array, s: number, delimiters: number): number {
  const open = delimiters >> 8;
  const close = delimiters & 0xff;
  if (s >= subject.length || subject[s] !== open) return -1;
  let depth = 1;
  for (let i = s + 1; i < subject.length; i++) {
    const c = subject[i];
    if (c === close) {
      if (--depth === 0) return i + 1;
    } else if (c === open) depth++;
  }
  return -1;
}
