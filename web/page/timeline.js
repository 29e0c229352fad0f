// The timeline: what the page knows of a room, in order. Messages stand at
// their offsets, notices behind the message that they came after, and drafts
// at the end until they get an offset. It knows nothing of the page.

const KEPT_MAX = 20_000; // items in memory; past it the oldest go

export class Timeline {
  items = [];
  // Whether the server has older messages: true, false, or null for unknown.
  more = null;

  #byOffset = new Map(); // offset → item
  #drafts = new Map(); // key → item that has no offset yet
  #sequence = 0;

  // oldest is the lowest offset that is here, or 0.
  get oldest() {
    return this.items.find((item) => item.kind === "message" && item.offset < Infinity)?.offset ?? 0;
  }

  // newest is the highest offset that is here, or 0.
  get newest() {
    const last = this.items.findLast((item) => item.offset < Infinity);
    return last?.offset ?? 0;
  }

  // add takes a stored message and returns its item, or null where it is
  // already there.
  add(message, own) {
    if (this.#byOffset.has(message.offset)) return null;
    const item = {
      kind: "message",
      offset: message.offset,
      sequence: this.#sequence++,
      from: message.from,
      own,
      text: textOf(message),
      time: message.timestamp,
      state: "done",
      reason: "",
      key: "",
    };
    this.#byOffset.set(item.offset, item);
    this.#insert(item);
    return item;
  }

  // draft follows one of our own messages through its states. Once it has an
  // offset it is a message like all others.
  draft(draft, from) {
    let item = this.#drafts.get(draft.key);
    if (draft.state === "discarded") {
      if (item) this.#remove(item);
      this.#drafts.delete(draft.key);
      return;
    }
    if (!item) {
      item = {
        kind: "message",
        offset: Infinity,
        sequence: this.#sequence++,
        from,
        own: true,
        text: draft.text,
        time: draft.createdAt,
        key: draft.key,
      };
      this.#drafts.set(draft.key, item);
      this.#insert(item);
    }
    item.state = draft.state;
    item.reason = draft.reason;
    if (draft.state !== "done") return;
    this.#drafts.delete(draft.key);
    this.#remove(item);
    if (this.#byOffset.has(draft.offset)) return;
    item.offset = draft.offset;
    item.time = draft.timestamp;
    this.#byOffset.set(item.offset, item);
    this.#insert(item);
  }

  // notice puts a line behind the message at an offset, by default the newest.
  notice(text, offset = this.newest) {
    this.#insert({ kind: "notice", offset, sequence: this.#sequence++, text, time: Date.now() });
  }

  // forget drops everything but the drafts.
  forget() {
    this.items = this.items.filter((item) => item.offset === Infinity);
    this.#byOffset.clear();
    this.more = null;
  }

  // trim drops the oldest items beyond the bound. They can be loaded again.
  trim() {
    const excess = this.items.length - KEPT_MAX;
    if (excess <= 0) return;
    for (const item of this.items.splice(0, excess)) {
      if (item.kind === "message") this.#byOffset.delete(item.offset);
    }
    this.more = true;
  }

  // full reports that no older messages may be loaded.
  get full() {
    return this.items.length >= KEPT_MAX;
  }

  #insert(item) {
    const items = this.items;
    let low = 0;
    let high = items.length;
    if (high > 0 && before(items[high - 1], item)) low = high; // the usual case
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(items[middle], item)) low = middle + 1;
      else high = middle;
    }
    items.splice(low, 0, item);
  }

  #remove(item) {
    const index = this.items.lastIndexOf(item);
    if (index >= 0) this.items.splice(index, 1);
  }
}

// before orders by offset; at the same offset the message comes first, then
// the notices that came after it.
function before(a, b) {
  if (a.offset !== b.offset) return a.offset < b.offset;
  if (a.kind !== b.kind && a.offset < Infinity) return a.kind === "message";
  return a.sequence < b.sequence;
}

// textOf shows any content: this page writes strings, other clients may write
// any JSON, or bytes, into the same room.
export function textOf({ content, encoding }) {
  if (encoding === "base64") return `${Math.floor((content.replace(/=+$/, "").length * 3) / 4)} bytes`;
  if (typeof content === "string") return content;
  if (typeof content?.text === "string") return content.text;
  return JSON.stringify(content);
}
