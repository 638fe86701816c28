/**
 * A worker's part in the policy service: its requests are answered here, and
 * milter connections that the primary has introduced meet the session that
 * policy requests of the same client began.
 */
import type { Log } from "../log.ts";
import type { FilterNeeds, MilterContext, MilterFilter } from "../milter/filter.ts";
import type { SharedSession } from "../smtp/shared-session.ts";
import type { DoorServices } from "./door.ts";
import type { Introduced, ToWorker } from "./messages.ts";
import type { MilterDoor } from "./milter-door.ts";
import { covers } from "./needs.ts";
import { answerPolicy } from "./policy-door.ts";
import { SharedSessions } from "./shared-sessions.ts";
import type { Meeting } from "./smtp-mail.ts";
import { tell } from "./worker-output.ts";

export interface MeetingsOptions {
  /** Time without anything after which a session without a milter ends. */
  readonly idleMs: number;
  readonly log: Log;
  /** Their number may have changed. */
  readonly touched: () => void;
}

export class Meetings {
  readonly #options: MeetingsOptions;
  readonly #sessions: SharedSessions;
  /** What the scripts of a session that the policy service began need of a milter connection. */
  readonly #needs = new WeakMap<SharedSession, FilterNeeds>();
  readonly #answering = new Set<Promise<void>>();

  constructor(options: MeetingsOptions) {
    this.#options = options;
    this.#sessions = new SharedSessions({
      idleMs: options.idleMs,
      over: (key, number) => {
        options.touched();
        void tell({ type: "sessionOver", key, number });
      },
    });
  }

  /** Sessions that no milter connection serves. */
  get alone(): number {
    return this.#sessions.alone;
  }

  /** A request of the policy service; a session that begins with it has these services, and `needs` of a milter. */
  async answer(
    services: DoorServices,
    needs: FilterNeeds | undefined,
    { key, number, attributes }: ToWorker & { type: "policy" },
  ): Promise<void> {
    const sessions = this.#sessions;
    const answering = answerPolicy(services, { sessions, key, number }, attributes)
      .then((answer) => tell({ type: "policyAnswer", number, answer }))
      .finally(() => this.#answering.delete(answering));
    this.#answering.add(answering);
    this.#options.touched();
    const session = sessions.waiting(key);
    if (session !== undefined && needs !== undefined && !this.#needs.has(session)) {
      this.#needs.set(session, needs);
    }
    await answering;
  }

  clientGone(key: string, number: number): void {
    this.#sessions.release(key, number);
  }

  /**
   * `door` for a connection whose session the policy service may know; undefined when it was negotiated for less than
   * that session needs.
   */
  introduce(door: MilterDoor, { key, number, needs }: Introduced): MilterFilter | undefined {
    const sessions = this.#sessions;
    const begun = sessions.waiting(key);
    const needed = [door.needs(), begun === undefined ? undefined : this.#needs.get(begun)];
    if (needs !== undefined && needed.some((one) => one !== undefined && !covers(needs, one))) {
      const problem =
        "scripts were changed between the negotiation and CONNECT; the client is asked to come back";
      this.#options.log.warn("milter", { client: key, problem });
      return undefined;
    }
    const meeting: Meeting = {
      session: (create) => sessions.ofMilter(key, number, create),
      ended: (session) => sessions.ended(session),
      kept: (session) => sessions.kept(session),
    };
    const open = (context: MilterContext) => door.openFor(context, key === "" ? undefined : meeting);
    return { needs: () => needs ?? door.needs(), open };
  }

  /** An introduced connection is over, or there was nobody to serve. */
  over({ key, number }: Introduced): void {
    this.#sessions.unmet(key, number);
  }

  /** Answers what was asked, then ends the sessions that no milter connection serves; waits until `late` for each. */
  async stop(late: Promise<void>): Promise<void> {
    await Promise.race([Promise.all(this.#answering), late]);
    await Promise.race([this.#sessions.close(), late]);
  }
}
