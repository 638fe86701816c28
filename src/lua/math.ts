/**
 * The math library: Lua 5.0's functions, and those of 5.1 and 5.2 that no 5.0
 * script can miss. Every environment has its own random sequence.
 */
import { checkWhole } from "./arguments.ts";
import { argError, charge, checkNumber, optNumber, raise, sessionOf } from "./native.ts";
import { type LuaState, lua_gettop, lua_pushnumber, type Native } from "./vm.ts";

const RADIANS_PER_DEGREE = Math.PI / 180;

function unary(compute: (x: number) => number): Native {
  return (L) => {
    lua_pushnumber(L, compute(checkNumber(L, 1)));
    return 1;
  };
}

function binary(compute: (x: number, y: number) => number): Native {
  return (L) => {
    const x = checkNumber(L, 1);
    lua_pushnumber(L, compute(x, checkNumber(L, 2)));
    return 1;
  };
}

/** The first argument that `better` prefers to all before it. */
function best(better: (candidate: number, soFar: number) => boolean): Native {
  return (L) => {
    const n = lua_gettop(L);
    charge(L, n);
    let chosen = checkNumber(L, 1);
    for (let i = 2; i <= n; i++) {
      const candidate = checkNumber(L, i);
      if (better(candidate, chosen)) chosen = candidate;
    }
    lua_pushnumber(L, chosen);
    return 1;
  };
}

/** C's pow: JavaScript alone makes 1 to the power of NaN or infinity NaN. */
function power(x: number, y: number): number {
  if (x === 1 || (x === -1 && !Number.isFinite(y) && !Number.isNaN(y))) return 1;
  return x ** y;
}

/** x = m * 2^e with 0.5 <= |m| < 1. */
function splitExponent(x: number): [mantissa: number, exponent: number] {
  if (x === 0 || !Number.isFinite(x)) return [x, 0];
  let exponent = Math.max(-1023, Math.floor(Math.log2(Math.abs(x))) + 1);
  let mantissa = x * 2 ** -exponent;
  // log2 may be off by one near powers of two, and is of no use for subnormal numbers.
  while (Math.abs(mantissa) < 0.5) {
    mantissa *= 2;
    exponent--;
  }
  while (Math.abs(mantissa) >= 1) {
    mantissa /= 2;
    exponent++;
  }
  return [mantissa, exponent];
}

/** x * 2^e in steps that do not overflow before the result does. */
function scaleByPower(x: number, exponent: number): number {
  const whole = Math.max(-4000, Math.min(4000, exponent));
  const steps = Math.max(1, Math.ceil(Math.abs(whole) / 1000));
  let result = x;
  for (let i = 0; i < steps; i++)
    result *= 2 ** (Math.floor(((i + 1) * whole) / steps) - Math.floor((i * whole) / steps));
  return result;
}

/** Numbers from 0 up to, but not including, 1; the same ones after the same seed. */
class RandomSequence {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 48 bits from two steps of a 32-bit generator (splitmix with murmur's finaliser). */
  next(): number {
    return (this.#step() * 65_536 + (this.#step() >>> 16)) / 2 ** 48;
  }

  #step(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }
}

const SEQUENCE = "math.random";

function sequenceOf(L: LuaState): RandomSequence {
  const { library } = sessionOf(L);
  let sequence = library.get(SEQUENCE) as RandomSequence | undefined;
  if (sequence === undefined) {
    sequence = new RandomSequence(Math.floor(Math.random() * 2 ** 32));
    library.set(SEQUENCE, sequence);
  }
  return sequence;
}

function random(L: LuaState): number {
  const fraction = sequenceOf(L).next();
  const n = lua_gettop(L);
  if (n === 0) {
    lua_pushnumber(L, fraction);
    return 1;
  }
  if (n > 2) raise(L, "wrong number of arguments");
  const low = n === 1 ? 1 : checkWhole(L, 1);
  const high = checkWhole(L, n);
  if (!(low <= high)) argError(L, n, "interval is empty");
  lua_pushnumber(L, Math.floor(fraction * (high - low + 1)) + low);
  return 1;
}

export const mathConstants = { pi: Math.PI, huge: Number.POSITIVE_INFINITY };

export const mathFunctions: Record<string, Native> = {
  abs: unary(Math.abs),
  acos: unary(Math.acos),
  asin: unary(Math.asin),
  atan: unary(Math.atan),
  atan2: binary(Math.atan2),
  ceil: unary(Math.ceil),
  cos: unary(Math.cos),
  cosh: unary(Math.cosh),
  deg: unary((x) => x / RADIANS_PER_DEGREE),
  exp: unary(Math.exp),
  floor: unary(Math.floor),
  fmod: binary((x, y) => x % y),
  frexp(L) {
    const [mantissa, exponent] = splitExponent(checkNumber(L, 1));
    lua_pushnumber(L, mantissa);
    lua_pushnumber(L, exponent);
    return 2;
  },
  ldexp(L) {
    const x = checkNumber(L, 1);
    lua_pushnumber(L, scaleByPower(x, checkWhole(L, 2)));
    return 1;
  },
  log(L) {
    const x = checkNumber(L, 1);
    // 5.0 ignores a second argument; to 5.2 it is the base.
    const base = sessionOf(L).dialect === "5.2" ? optNumber(L, 2, 0) : 0;
    if (base === 10) lua_pushnumber(L, Math.log10(x));
    else if (base === 2) lua_pushnumber(L, Math.log2(x));
    else lua_pushnumber(L, base === 0 ? Math.log(x) : Math.log(x) / Math.log(base));
    return 1;
  },
  log10: unary(Math.log10),
  max: best((candidate, soFar) => candidate > soFar),
  min: best((candidate, soFar) => candidate < soFar),
  mod: binary((x, y) => x % y),
  modf(L) {
    const x = checkNumber(L, 1);
    const whole = Math.trunc(x);
    lua_pushnumber(L, whole);
    lua_pushnumber(L, Number.isFinite(x) ? x - whole : Number.isNaN(x) ? x : 0);
    return 2;
  },
  pow: binary(power),
  rad: unary((x) => x * RADIANS_PER_DEGREE),
  random,
  randomseed(L) {
    sessionOf(L).library.set(SEQUENCE, new RandomSequence(checkWhole(L, 1)));
    return 0;
  },
  sin: unary(Math.sin),
  sinh: unary(Math.sinh),
  sqrt: unary(Math.sqrt),
  tan: unary(Math.tan),
  tanh: unary(Math.tanh),
};

/** The global `__pow`, which 5.0 calls for the operator ^. */
export const powGlobal: Native = mathFunctions.pow!;
