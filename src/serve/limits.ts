/** The limits of a worker process, from the limits of the configuration. */
import type { Config } from "../config/load.ts";

export interface ProcessLimits {
  /** Standstill of the main thread after which its watchdog kills the process. */
  readonly silenceMs: number;
  /** Resident memory at which the process is killed. */
  readonly memoryMb: number;
  /** V8's own limit, at which it aborts: below the former, so that it gets its chance to collect garbage. */
  readonly heapMb: number;
  /** What scripts may hold, heap and strings: below both, so that a script ends before its process does. */
  readonly scriptsMb: number;
  /** What messages under way may hold in memory; what exceeds it goes to files. */
  readonly messagesMb: number;
}

/** The program itself, its threads, and V8's young generation, which its limit leaves out. */
const OUTSIDE_HEAP_MB = 192;

export function processLimits({ limits }: Pick<Config, "limits">): ProcessLimits {
  const memoryMb = limits.worker_memory_mb;
  return {
    silenceMs: limits.watchdog_ms,
    memoryMb,
    heapMb: Math.round(Math.min(memoryMb * 0.75, memoryMb - OUTSIDE_HEAP_MB)),
    scriptsMb: Math.round(memoryMb * 0.5),
    messagesMb: Math.round(memoryMb * 0.125),
  };
}
