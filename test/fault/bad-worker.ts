/** A worker whose scripts have helpers that no script should ever have: they do to the process what a bug of ours could. */
import type { HostModule } from "../../src/lua/host.ts";
import { runWorker } from "../../src/serve/worker.ts";

const kept: unknown[] = [];

const BAD: HostModule = {
  table: "Bad",
  functions: {
    /** Keeps the main thread for good. */
    Spin() {
      for (;;);
    },
    /** Fills V8's heap until it aborts. */
    FillHeap() {
      for (;;) kept.push(Array.from({ length: 100_000 }, (_, n) => ({ n })));
    },
    /** Takes memory outside of the heap, as much as there is. */
    FillMemory() {
      for (;;) kept.push(Buffer.alloc(16 * 1024 * 1024, 1));
    },
    /** Ends the process as a bug would. */
    Crash() {
      setImmediate(() => {
        throw new Error("a bug");
      });
      return [];
    },
  },
};

runWorker({ modules: [BAD] });
