// The timeline: what the page knows of a conversation, in order. Messages stand at
// their offsets, notices behind the message that they came after, and drafts
// at the end until they get an offset. It knows nothing of the page.

const KEPT_MAX = 20_000; // items in memory; past it the oldest go
const DELETED = "This message was deleted";

// Coverage says how far back a stream is known.
export class Coverage {
  reach = 0; // from this offset on, everything is here; 0 for nothing yet
  more = null; // whether the server has older messages: true, false, or null for unknown

  // extend takes note of a page of messages below an offset, 0 for the newest.
  // What is not next to the rest is no part of it.
  extend(messages, before, more) {
    if (this.reach > 0 && before < this.reach) return;
    const lowest = messages[0]?.offset ?? before;
    if (this.reach > 0 && lowest > this.reach) return;
    this.reach = lowest || 1;
    this.more = more;
  }

  copy() {
    return Object.assign(new Coverage(), this);
  }
}

export class Timeline {
  items = [];
  coverage;

  #byOffset = new Map(); // offset → item
  #drafts = new Map(); // key → item that has no offset yet
  #sequence = 0;

  constructor(coverage = new Coverage()) {
    this.coverage = coverage;
  }

  // newest is the highest offset that is here, or 0.
  get newest() {
    const last = this.items.findLast((item) => item.offset < Infinity);
    return last?.offset ?? 0;
  }

  // add takes a stored message, and the transfer that it announces, if any. It
  // returns the message's item, or null where it is already there.
  add(message, own, file = null) {
    if (message.deleted) this.retract(message.offset);
    if (this.#byOffset.has(message.offset)) return null;
    const item = {
      kind: "message",
      offset: message.offset,
      sequence: this.#sequence++,
      from: message.from,
      own,
      text: file ? file.name : textOf(message),
      file,
      deleted: message.deleted === true,
      time: message.timestamp,
      msgId: message.msgId,
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
        file: draft.file ?? null,
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
    item.msgId = draft.msgId;
    this.#byOffset.set(item.offset, item);
    this.#insert(item);
  }

  // retract takes the content of a message that was deleted out. It reports
  // whether the message is here.
  retract(offset) {
    const item = this.#byOffset.get(offset);
    if (item) Object.assign(item, { text: DELETED, file: null, deleted: true });
    return item !== undefined;
  }

  // delivered marks our own messages up to one: they have arrived. The ids of
  // messages sort as the messages do.
  delivered(msgId) {
    for (const item of this.items) {
      if (item.own && item.state === "done" && item.msgId <= msgId) item.state = "delivered";
    }
  }

  // notice puts a line behind the message at an offset, by default the newest.
  notice(text, offset = this.newest) {
    this.#insert({ kind: "notice", offset, sequence: this.#sequence++, text, time: Date.now() });
  }

  // forget drops everything but the drafts.
  forget() {
    this.items = this.items.filter((item) => item.offset === Infinity);
    this.#byOffset.clear();
    this.coverage = new Coverage();
  }

  // trim drops the oldest items beyond the bound. They can be loaded again.
  trim() {
    const excess = this.items.length - KEPT_MAX;
    if (excess <= 0) return;
    for (const item of this.items.splice(0, excess)) {
      if (item.kind === "message") this.#byOffset.delete(item.offset);
    }
    const oldest = this.items.find((item) => item.kind === "message" && item.offset < Infinity);
    this.coverage.reach = oldest?.offset ?? 0;
    this.coverage.more = true;
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
export function textOf({ content, encoding, deleted }) {
  if (deleted) return DELETED;
  if (encoding === "base64") return `${Math.floor((content.replace(/=+$/, "").length * 3) / 4)} bytes`;
  if (typeof content === "string") return content;
  if (typeof content?.text === "string") return content.text;
  return JSON.stringify(content);
}
