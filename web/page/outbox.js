// The outbox: what was written and is not yet acknowledged. It sends once it
// may, again after a break, and keeps what fails with the reason.

import { Disconnected, ServerError } from "/connection.js";

const WAITING_MAX = 200; // drafts
const RETRY_MS = 2_000; // before a message is sent again that may be, where the server names no time
const KEY_TTL_MS = 10 * 60_000; // how long the server knows an idempotency key, where it does not say
const KEY_MARGIN_MS = 60_000; // taken off that, for what a message spends under way
const DOUBT_MS = 5_000; // an ack this shortly before the link broke may be of a message that the disk never had

// Close codes that blame a frame. What was under way then is not sent again
// by itself, or one bad message would close each new link, too.
const BLAMES_A_FRAME = new Set([1002, 1003, 1007, 1008, 1009]);

// A draft is {to, content, encoding, key, text, file, piece, state, reason,
// createdAt}: text is what the page shows of it, file the transfer that it
// announces, piece whose piece it is. Its state is "waiting" (not sent), "sent"
// (not acknowledged), "failed" (with the reason), "discarded", and "done" with
// offset, timestamp and msgId, when it is a message like all others.
//
// Outbox calls onDraft(draft) whenever a state changed, and onAck(ack) for each
// message that was not known to the server before.
export class Outbox {
  #connection;
  #handlers;
  #drafts = new Map(); // key → draft
  #doubtful = []; // drafts that were acknowledged in the last moments of the link
  #brokenAt = 0; // when the link broke, on the clock of acknowledgements
  #open = false;
  #keyTtl = KEY_TTL_MS;

  constructor(connection, handlers) {
    this.#connection = connection;
    this.#handlers = handlers;
  }

  // setKeyTtl takes how long the server knows keys, in ms.
  setKeyTtl(keyTtl = KEY_TTL_MS) {
    this.#keyTtl = keyTtl;
  }

  // add takes a message, under a key of its own where it has none, and returns
  // its draft, or null where the outbox is full.
  add(message) {
    if (!message.piece && this.#drafts.size >= WAITING_MAX) return null; // uploads bound their pieces
    const draft = { key: randomHex(), ...message, state: "waiting", reason: "", createdAt: Date.now() };
    this.#drafts.set(draft.key, draft);
    this.#handlers.onDraft(draft);
    this.#publish(draft);
    return draft;
  }

  // retry sends a failed draft again. A text gets a new key: the old one may
  // be bound to other content, or be forgotten. A file's key names its content.
  retry(key) {
    const draft = this.#drafts.get(key);
    if (draft?.state !== "failed") return;
    if (draft.piece || draft.file) {
      this.#turn(draft, "waiting", "");
      this.#publish(draft);
      return;
    }
    this.discard(key);
    this.add({ to: draft.to, content: draft.content, text: draft.text });
  }

  discard(key) {
    const draft = this.#drafts.get(key);
    if (!draft) return;
    this.#drafts.delete(key);
    this.#turn(draft, "discarded", "");
  }

  // open sends what waits, and again what got no ack on an earlier link. It is
  // called once everything missed has come: a message that did arrive has then
  // settled its draft. The key makes the server drop a copy in any case, for
  // as long as it remembers keys.
  open() {
    this.#open = true;
    for (const draft of this.#drafts.values()) {
      if (draft.state === "failed") continue;
      const old = draft.sentAt && Date.now() - draft.sentAt > this.#keyTtl - KEY_MARGIN_MS;
      if (old && !draft.piece) { // a second copy of a piece is harmless
        this.#turn(draft, "failed", "the connection was lost for too long to know whether this arrived");
        continue;
      }
      this.#publish(draft);
    }
  }

  // shut keeps everything until the next open.
  shut() {
    this.#open = false;
  }

  // broken tells that the link broke, which stood until now.
  broken() {
    this.#brokenAt = performance.now();
  }

  // settle ends the draft that a stored message came from. It reports whether
  // there was one.
  settle(message) {
    const draft = message.key && this.#drafts.get(message.key);
    if (!draft) return false;
    this.#done(draft, message);
    return true;
  }

  // bringBack takes back what was acknowledged just before a log lost its end:
  // by default the server acknowledges some milliseconds before the disk has
  // it. What is there after all is settled by the page of history that is
  // loaded next, and by its key.
  bringBack() {
    const broken = this.#brokenAt;
    const doubtful = this.#doubtful.filter(({ ackedAt }) => ackedAt <= broken && broken - ackedAt < DOUBT_MS);
    const later = [...this.#drafts];
    this.#doubtful = [];
    this.#drafts.clear();
    for (const { draft } of doubtful) {
      draft.offset = undefined;
      this.#drafts.set(draft.key, draft);
      this.#turn(draft, "waiting", "");
    }
    for (const [key, draft] of later) this.#drafts.set(key, draft);
  }

  #turn(draft, state, reason) {
    draft.state = state;
    draft.reason = reason;
    this.#handlers.onDraft(draft);
  }

  async #publish(draft) {
    if (!this.#open) return;
    draft.state = "sent";
    draft.sentAt ??= Date.now();
    let ack;
    try {
      ack = await this.#connection.request({
        type: "message",
        to: draft.to,
        content: draft.content,
        encoding: draft.encoding,
        key: draft.key,
      });
    } catch (error) {
      this.#publishFailed(draft, error);
      return;
    }
    this.#done(draft, ack);
    if (!ack.duplicate) this.#handlers.onAck(ack);
  }

  #publishFailed(draft, error) {
    if (!this.#drafts.has(draft.key)) return;
    if (error instanceof Disconnected) {
      if (BLAMES_A_FRAME.has(error.closeCode)) {
        this.#turn(draft, "failed", "the server closed the connection when it got this");
      } else {
        this.#turn(draft, "waiting", draft.reason);
      }
      return;
    }
    if (!(error instanceof ServerError)) throw error;
    if (!error.retry) {
      this.#turn(draft, "failed", error.message);
      return;
    }
    this.#turn(draft, "waiting", error.message);
    setTimeout(() => {
      if (draft.state === "waiting") this.#publish(draft);
    }, error.retryAfter || RETRY_MS);
  }

  #done(draft, { offset, timestamp, msgId }) {
    if (!this.#drafts.delete(draft.key)) return;
    Object.assign(draft, { offset, timestamp, msgId });
    const ackedAt = performance.now();
    this.#doubtful = this.#doubtful.filter((one) => ackedAt - one.ackedAt < DOUBT_MS);
    this.#doubtful.push({ draft, ackedAt });
    this.#turn(draft, "done", "");
  }
}

// randomHex returns 128 random bits in hex. crypto.randomUUID would do, but
// pages from plain http on other hosts do not have it.
export function randomHex() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
