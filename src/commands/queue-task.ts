/** What the privileged half of `postlua queue` has the other half do; goes over its command line as JSON. */

export interface QueueTask {
  readonly what: "watch" | "once" | "plan" | "list" | "failsafe";
  /** undefined: all defaults. */
  readonly configFile: string | undefined;
  readonly configDirectory: string;
  /** Started as root: this half must have lost all rights to the queue. */
  readonly separated: boolean;
  readonly json: boolean;
  /** list: again and again. */
  readonly live: boolean;
  /** once, watch: until another worker is gone. */
  readonly wait: boolean;
}
