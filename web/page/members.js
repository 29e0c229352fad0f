// The members: who is in the room, with their statuses, its host and its bound.
// Up to 200 users the server tells who comes and goes; above that it tells
// their number alone, and the list is what it was when it was asked for.

import { Disconnected, ServerError } from "/connection.js";

const NAMED_MAX = 200; // members up to which the server names who comes and goes
const LISTED_MAX = 5_000; // names in memory
const REFRESH_MS = 30_000; // between two looks at the statuses, of which no event tells

export const STATUSES = { online: "Online", away: "Away", busy: "Busy" };

// Members calls onChange() whenever something of it changed. ask(frame) sends
// a command and promises the reply.
export class Members {
  count = 0; // 0 for unknown
  host = "";
  maxUsers = 0;
  statuses = new Map(); // user → status, in the order of the names
  more = false; // whether there are users that are not listed
  loading = false;
  #room;
  #ask;
  #onChange;
  #next; // the cursor of the next page
  #again = false; // the list changed while it was loaded
  #timer = 0;

  constructor(room, ask, onChange) {
    this.#room = room;
    this.#ask = ask;
    this.#onChange = onChange;
  }

  // live reports whether the list follows who comes and goes.
  get live() {
    return this.count <= NAMED_MAX;
  }

  // joined takes what the reply to a join says.
  joined({ members, host, maxUsers }) {
    Object.assign(this, { count: members, host, maxUsers });
    this.refresh();
    this.#onChange();
  }

  // lost forgets it all: only one who is in the room can tell.
  lost() {
    clearTimeout(this.#timer);
    Object.assign(this, { count: 0, host: "", maxUsers: 0, statuses: new Map(), more: false });
    this.#onChange();
  }

  updated({ host, maxUsers }) {
    Object.assign(this, { host, maxUsers });
    this.#onChange();
  }

  // changed takes a new number, and who came or went.
  changed(count, joined, left) {
    const crossed = count <= NAMED_MAX && (!this.live || (!joined && !left));
    this.count = count;
    if (this.loading) this.#again = true;
    if (joined && !this.statuses.has(joined)) {
      this.statuses.set(joined, "online");
      this.statuses = new Map([...this.statuses].sort(([a], [b]) => (a < b ? -1 : 1)));
    }
    if (left) this.statuses.delete(left);
    if (crossed) this.refresh();
    this.#onChange();
  }

  // setStatus takes what a user told of itself.
  setStatus(user, status) {
    if (!this.statuses.has(user) || !Object.hasOwn(STATUSES, status)) return;
    this.statuses.set(user, status);
    this.#onChange();
  }

  // refresh loads the list anew.
  refresh() {
    this.#next = undefined;
    return this.#load(true);
  }

  // loadMore loads the next page of a long list.
  loadMore() {
    return this.#load(false);
  }

  async #load(anew) {
    if (this.loading) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.loading = true;
    this.#again = false;
    this.#onChange();
    try {
      const reply = await this.#ask({ type: "members", room: this.#room, cursor: this.#next });
      if (this.count > 0) this.#take(reply, anew);
    } catch (error) {
      if (!(error instanceof Disconnected || error instanceof ServerError)) throw error;
      this.#again = false; // the next join, or the next look, asks again
    }
    this.loading = false;
    this.#onChange();
    if (this.#again) this.refresh();
    else this.#lookLater();
  }

  #take({ members, next }, anew) {
    const page = members.map(({ userId, status }) => [userId, status]);
    this.statuses = new Map(anew ? page : [...this.statuses, ...page]);
    this.#next = next;
    this.more = Boolean(next) && this.statuses.size < LISTED_MAX;
  }

  #lookLater() {
    this.#timer = setTimeout(() => {
      if (this.count === 0 || !this.live) return;
      if (document.hidden) this.#lookLater();
      else this.refresh();
    }, REFRESH_MS);
  }
}
