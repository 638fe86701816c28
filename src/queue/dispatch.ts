/**
 * Who is released when: for each destination the messages that may go, in
 * order, with at most a window of them under way. With window 1 the order is
 * exact; else nobody is overtaken by more than a window. A destination that is
 * slow, or down, keeps nobody else waiting.
 *
 * A message for several destinations counts in the window of each, and goes
 * when all have room. Once it was turned away oftener than a window is long,
 * it may exceed the windows that are full, by at most as much again: so it
 * cannot wait for ever, and cannot fill a dead destination either.
 *
 * Knows of no script, no journal and no retry: its owner does.
 */

import { type Rank, RankedQueue } from "./order.ts";
import type { Place, ReleaseResult } from "./protocol.ts";

export interface Item {
  readonly id: string;
  readonly rank: Rank;
  /** At least one. */
  readonly destinations: readonly string[];
  /** When it comes back, it is to be bounced. */
  readonly last: boolean;
}

/** How a release ended; `place` where the message came to rest. */
export interface Rest {
  readonly result: ReleaseResult;
  readonly place: Place;
}

export interface DispatchOptions {
  release(id: string): Promise<ReleaseResult>;
  /** Resolves when the message has come to rest. */
  left(id: string): Promise<Place>;
  /** Most messages of a destination under way at once. */
  windowOf(destination: string): number;
  /** Called before the release is asked for. */
  onRelease(item: Item): void;
  /** Called when it came to rest; the item counts as under way until this is over. Says whether the destination is down. */
  onRest(item: Item, rest: Rest): Promise<"down" | "up" | undefined>;
  /** Postfix cannot be asked. The item waits again, and everything stands still until go(). */
  onTrouble(error: Error): void;
  /** A window's length of tries found the destination down, one after another; its items are given back. */
  onDown(destination: string, items: readonly Item[]): void;
}

interface Ticket {
  readonly rank: Rank;
  readonly item: Item;
  readonly at: readonly Destination[];
  /** resting: where it came to rest is known, what follows from it not yet. */
  state: "waiting" | "under way" | "resting" | "over";
  /** Destinations in whose queue it stands. */
  readonly queued: Set<Destination>;
  turnedAway: number;
}

interface Destination {
  readonly name: string;
  readonly window: number;
  readonly waiting: RankedQueue<Ticket>;
  /** Tickets that name it and are not over. */
  members: number;
  underWay: number;
  /** Its messages that are released and not yet picked up. */
  picking: number;
  /** Tries in a row that found it down. */
  down: number;
}

/**
 * So much of a window may be waiting to be picked up. Postfix picks up in no order, but nobody is overtaken by more
 * than what is under way.
 */
const PICKING_SHARE = 1 / 4;
/** Releases asked for at once. */
const MAX_PICKING = 16;
/** With so many under way, a destination gets one more only when it has none. */
const MANY_UNDER_WAY = 5_000;

export class Dispatcher {
  readonly #options: DispatchOptions;
  readonly #destinations = new Map<string, Destination>();
  readonly #tickets = new Map<string, Ticket>();
  /** Destinations to be looked at again when a release is picked up. */
  readonly #postponed = new Set<Destination>();
  #picking = 0;
  #underWay = 0;
  #standing = false;
  #changed: () => void = () => {};

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  /** Messages that wait and that are under way. */
  get size(): number {
    return this.#tickets.size;
  }

  get underWay(): number {
    return this.#underWay;
  }

  get isStanding(): boolean {
    return this.#standing;
  }

  has(id: string): boolean {
    return this.#tickets.has(id);
  }

  /** It is under way, or what follows from its try is being seen to. */
  isBusy(id: string): boolean {
    const ticket = this.#tickets.get(id);
    return ticket !== undefined && ticket.state !== "waiting";
  }

  /** Adds a message, or gives one that waits a new rank. Does nothing to one that is under way. */
  add(item: Item): void {
    const known = this.#tickets.get(item.id);
    if (known !== undefined && known.state !== "waiting") return;
    const ticket = this.#ticket(item);
    if (known !== undefined) this.#end(known);
    this.#tickets.set(item.id, ticket);
    for (const destination of ticket.at) {
      ticket.queued.add(destination);
      destination.waiting.add(ticket);
    }
    for (const destination of ticket.at) this.#look(destination);
  }

  /** Takes a message that waits off; one that is under way stays. */
  remove(id: string): void {
    const ticket = this.#tickets.get(id);
    if (ticket?.state !== "waiting") return;
    this.#end(ticket);
    this.#changed();
  }

  /** Counts a message that is under way already, released by whomever. */
  adopt(item: Item): void {
    if (this.#tickets.has(item.id)) return;
    const ticket = this.#ticket(item);
    this.#tickets.set(item.id, ticket);
    this.#begin(ticket);
    void this.#follow(ticket, "active");
  }

  /** Releases nothing more until go(); what is under way goes on. */
  stand(): void {
    this.#standing = true;
  }

  go(): void {
    this.#standing = false;
    for (const destination of this.#destinations.values()) this.#look(destination);
  }

  /** Resolves when something changed since the call. */
  change(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#changed;
      this.#changed = () => {
        this.#changed = () => {};
        before();
        resolve();
      };
    });
  }

  #ticket(item: Item): Ticket {
    const at = item.destinations.map((name) => this.#destination(name));
    for (const destination of at) destination.members++;
    return { rank: item.rank, item, at, state: "waiting", queued: new Set(), turnedAway: 0 };
  }

  #destination(name: string): Destination {
    let destination = this.#destinations.get(name);
    if (destination === undefined) {
      const window = Math.max(1, this.#options.windowOf(name));
      const waiting = new RankedQueue<Ticket>();
      destination = { name, window, waiting, members: 0, underWay: 0, picking: 0, down: 0 };
      this.#destinations.set(name, destination);
    }
    return destination;
  }

  /** Releases the first in order that can go. */
  #look(destination: Destination): void {
    while (!this.#standing && this.#hasRoom(destination, false)) {
      if (this.#picking >= MAX_PICKING) {
        this.#postponed.add(destination);
        return;
      }
      const ticket = destination.waiting.take();
      if (ticket === undefined) return;
      ticket.queued.delete(destination);
      if (ticket.state !== "waiting") continue;
      const overdue = ticket.turnedAway > Math.min(...ticket.at.map(({ window }) => window));
      const full = ticket.at.find((other) => !this.#hasRoom(other, overdue));
      if (full === undefined) {
        void this.#release(ticket);
        return;
      }
      ticket.turnedAway++;
      if (ticket.queued.has(full)) continue;
      ticket.queued.add(full);
      full.waiting.add(ticket);
    }
  }

  #hasRoom({ window, underWay, picking }: Destination, overdue: boolean): boolean {
    if (picking >= Math.max(1, window * PICKING_SHARE)) return false;
    const limit = this.#underWay >= MANY_UNDER_WAY ? 1 : overdue ? 2 * window : window;
    return underWay < limit;
  }

  #begin(ticket: Ticket): void {
    ticket.state = "under way";
    this.#underWay++;
    for (const destination of ticket.at) destination.underWay++;
  }

  async #release(ticket: Ticket): Promise<void> {
    const { item, at } = ticket;
    this.#begin(ticket);
    this.#picking++;
    for (const destination of at) destination.picking++;
    let result: ReleaseResult | Error;
    try {
      this.#options.onRelease(item);
      result = await this.#options.release(item.id);
    } catch (error) {
      result = error as Error;
    }
    this.#picking--;
    for (const destination of at) destination.picking--;
    if (result instanceof Error) {
      this.#end(ticket);
      this.#standing = true;
      this.add(item);
      this.#options.onTrouble(result);
      this.#changed();
      return;
    }
    const followed = this.#follow(ticket, result);
    for (const destination of at) this.#look(destination);
    for (const destination of [...this.#postponed]) {
      this.#postponed.delete(destination);
      this.#look(destination);
    }
    await followed;
  }

  async #follow(ticket: Ticket, result: ReleaseResult): Promise<void> {
    const { item, at } = ticket;
    try {
      const place = await this.#options.left(item.id);
      // Room for the next one at once: what became of this one can be found out meanwhile.
      this.#rest(ticket);
      for (const destination of at) this.#look(destination);
      const verdict = await this.#options.onRest(item, { result, place });
      if (verdict !== undefined) for (const destination of at) this.#judge(destination, verdict, at.length);
    } catch (error) {
      this.#standing = true;
      this.#options.onTrouble(error as Error);
    }
    this.#end(ticket);
    this.#changed();
  }

  #rest(ticket: Ticket): void {
    if (ticket.state !== "under way") return;
    ticket.state = "resting";
    this.#underWay--;
    for (const destination of ticket.at) destination.underWay--;
  }

  #end(ticket: Ticket): void {
    if (ticket.state === "over") return;
    this.#rest(ticket);
    ticket.state = "over";
    if (this.#tickets.get(ticket.item.id) === ticket) this.#tickets.delete(ticket.item.id);
    for (const destination of ticket.at) {
      destination.members--;
      if (destination.members === 0 && destination.down === 0) this.#destinations.delete(destination.name);
    }
  }

  /** Of a message for several destinations nobody knows which of them failed. */
  #judge(destination: Destination, verdict: "down" | "up", destinations: number): void {
    if (verdict === "up") destination.down = 0;
    else if (destinations === 1) destination.down++;
    if (destination.down < destination.window) return;
    destination.down = 0;
    const given: Item[] = [];
    for (let ticket = destination.waiting.take(); ticket !== undefined; ticket = destination.waiting.take()) {
      ticket.queued.delete(destination);
      if (ticket.state !== "waiting") continue;
      this.#end(ticket);
      given.push(ticket.item);
    }
    this.#options.onDown(destination.name, given);
  }
}
