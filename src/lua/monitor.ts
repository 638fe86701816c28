/** Told what the machine is running, as it happens: for a watchdog. Called often; must be quick and must not throw. */
export interface Monitor {
  /** A callback starts, or goes on after others had their turn. `callback` is "" for the top level. */
  enter(context: object, script: string, callback: string): void;
  /** Every few thousand instructions, and when a host function is called. 0 when the line is not known. */
  at(line: number): void;
  /** It has ended, or waits. */
  leave(): void;
}
