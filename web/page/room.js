// The room: one room's stream over a connection that comes and goes. It joins,
// resumes where it stood, keeps the position, and holds the outbox: what was
// written but not yet acknowledged. It knows the protocol, not the page.

import { Disconnected, ServerError } from "/connection.js";

export const PAGE = 60; // messages in one request for history

const OUTBOX_MAX = 200; // messages that may wait to be acknowledged
const RETRY_MS = 2_000; // before a command is sent again that may be, where the server names no time
const KEY_TTL_MS = 10 * 60_000; // how long the server knows an idempotency key, where it does not say
const DOUBT_MS = 5_000; // an ack this shortly before the link broke may be of a message that the disk never had
const KEY_MARGIN_MS = 60_000; // taken off that, for what a message spends under way

// Close codes that blame a frame. What was under way then is not sent again
// by itself, or one bad message would close each new link, too.
const BLAMES_A_FRAME = new Set([1002, 1003, 1007, 1008, 1009]);

// Room calls these handlers, in the order of the stream:
//
//   onJoined({members, recovered, missed, resumed, at})
//                        at is the offset that the stream goes on from; missed
//                        is the number of messages that follow to catch up,
//                        where recovered; otherwise a page comes instead
//   onReset()            what is shown no longer holds: forget it
//   onPage(messages, more)  older messages, and whether there are still older
//   onPageFailed(reason)
//   onMessage(message)   the next message
//   onDraft(draft)       one of our own changed its state
//   onTransient(message) a message that is not kept
//   onMembers(count, joined, left)
//   onNotice(text)
//   onRefused(error)     the room cannot be joined
//   onClosed(reason)     we were put out of the room
//
// A draft is {key, text, state, reason, createdAt}, with state "waiting" (not
// sent), "sent" (not acknowledged), "failed" (with the reason), and "done" with
// offset and timestamp, when it is a message like all others.
export class Room {
  #connection;
  #name;
  #handlers;
  #position = null; // {epoch, offset, timestamp}: all up to here has been seen
  #acked = new Map(); // offset → timestamp of our own messages ahead of the position
  #head = 0; // the room's head at the join: from here on the stream is live
  #joined = false;
  #live = false; // joined, and everything missed has come
  #outbox = new Map(); // key → draft
  #doubtful = []; // drafts that were acknowledged in the last moments of the link
  #brokenAt = 0; // when the link broke, on the clock of acknowledgements
  #retryTimer = 0;
  #lastTyping = 0;
  #keyTtl = KEY_TTL_MS;
  #membersPushed = false; // the server tells of members by itself

  constructor(connection, name, handlers) {
    this.#connection = connection;
    this.#name = name;
    this.#handlers = handlers;
  }

  // join enters the room on a fresh link: for the first time, or again from
  // the position where the last one broke.
  async join() {
    this.#joined = this.#live = false;
    const since = this.#position;
    let joined;
    try {
      joined = await this.#connection.request({
        type: "join",
        room: this.#name,
        ...(since && { since }),
      });
    } catch (error) {
      this.#joinFailed(error);
      return;
    }
    this.#joined = true;
    this.#head = joined.offset;
    // An ack ahead of the position may be of a message that a crash lost. Its
    // offset is someone else's in the new epoch: the page tells what is true.
    const recovered = joined.recovered && (joined.epoch === since.epoch || this.#acked.size === 0);
    if (recovered) {
      this.#position = { ...since, epoch: joined.epoch };
    } else {
      this.#position = { epoch: joined.epoch, offset: joined.offset };
      this.#acked.clear();
    }
    if (since && !recovered) {
      this.#handlers.onReset();
      this.#bringBack();
    }
    this.#handlers.onJoined({
      members: joined.members,
      recovered,
      missed: recovered ? joined.offset - since.offset : 0,
      resumed: since !== null,
      at: this.#position.offset,
    });
    if (!recovered) await this.#firstPage();
    this.#checkLive();
  }

  // setLimits takes the limits that the server told with the session.
  setLimits(limits) {
    this.#keyTtl = limits.keyTtl ?? KEY_TTL_MS;
  }

  // disconnected is called when the link broke, or a try to have one failed. It
  // keeps what is unanswered.
  disconnected() {
    clearTimeout(this.#retryTimer);
    if (this.#joined) this.#brokenAt = performance.now();
    this.#joined = this.#live = false;
  }

  // recount asks how many users are in the room, where the server does not tell
  // of changes by itself. Joining again from the position says so in its reply:
  // it restarts the stream where it stands, and nothing is missed or repeated.
  async recount() {
    if (!this.#live || this.#membersPushed) return;
    let joined;
    try {
      joined = await this.#connection.request({ type: "join", room: this.#name, since: this.#position });
    } catch (error) {
      if (error instanceof Disconnected || error instanceof ServerError) return; // the next join deals with it
      throw error;
    }
    if (joined.recovered) this.#handlers.onMembers(joined.members, null, null);
    else this.join();
  }

  leave() {
    this.disconnected();
    this.#connection.send({ type: "leave", room: this.#name });
  }

  // older loads the page before an offset, 0 for the newest, into onPage. The
  // offset says where it goes on, also after a restart of the server; next says
  // if it can.
  async older(before) {
    const reply = await this.#connection.request({
      type: "history",
      room: this.#name,
      before: before || undefined,
      limit: PAGE,
      reverse: true,
    });
    const messages = reply.messages.sort((a, b) => a.offset - b.offset);
    for (const message of messages) this.#settle(message);
    this.#handlers.onPage(messages, Boolean(reply.next));
  }

  // say puts a text into the outbox and returns its draft, or null where the
  // outbox is full.
  say(text) {
    if (this.#outbox.size >= OUTBOX_MAX) return null;
    const draft = { key: randomKey(), text, state: "waiting", reason: "", createdAt: Date.now() };
    this.#outbox.set(draft.key, draft);
    this.#handlers.onDraft(draft);
    this.#publish(draft);
    return draft;
  }

  // retry sends a failed draft again, under a new key: the old one may be
  // bound to other content, or be forgotten.
  retry(key) {
    const draft = this.#outbox.get(key);
    if (!draft) return;
    this.discard(key);
    this.say(draft.text);
  }

  discard(key) {
    const draft = this.#outbox.get(key);
    if (!draft) return;
    this.#outbox.delete(key);
    this.#handlers.onDraft({ ...draft, state: "discarded" });
  }

  // typing tells the others, once in a while, that a message is being written.
  typing() {
    const now = Date.now();
    if (!this.#live || now - this.#lastTyping < 3_000) return;
    this.#lastTyping = now;
    this.#connection.send({
      type: "message",
      to: this.#name,
      content: { typing: true },
      transient: true,
    });
  }

  // receive takes a frame that the server pushed.
  receive(frame) {
    if (frame.room !== undefined && frame.room !== this.#name) return;
    switch (frame.type) {
      case "message":
        if (frame.to === this.#name) this.#message(frame);
        break;
      case "member_joined":
        this.#membersPushed = true;
        this.#handlers.onMembers(frame.members, frame.userId, null);
        break;
      case "member_left":
        this.#membersPushed = true;
        this.#handlers.onMembers(frame.members, null, frame.userId);
        break;
      case "member_count":
        this.#membersPushed = true;
        this.#handlers.onMembers(frame.members, null, null);
        break;
      case "lag":
        this.#handlers.onNotice("This window fell behind the room and is catching up");
        break;
      case "gap":
        this.#gap(frame);
        break;
      case "room_closed":
        this.#joined = this.#live = false;
        this.#handlers.onClosed(frame.reason);
        break;
    }
  }

  #joinFailed(error) {
    if (error instanceof Disconnected) return; // the next link joins again
    if (!(error instanceof ServerError)) throw error;
    if (!error.retry) {
      this.#handlers.onRefused(error);
      return;
    }
    this.#handlers.onNotice(`Waiting to join: ${error.message}`);
    this.#retryTimer = setTimeout(() => this.join(), error.retryAfter || RETRY_MS);
  }

  async #firstPage() {
    try {
      await this.older(this.#head + 1);
    } catch (error) {
      if (!(error instanceof ServerError)) return;
      this.#handlers.onPageFailed(error.message);
    }
  }

  #message(message) {
    if (!message.offset) {
      this.#handlers.onTransient(message);
      return;
    }
    if (message.offset <= this.#position.offset) return;
    this.#advance(message.offset, message.timestamp);
    if (!this.#settle(message)) this.#handlers.onMessage(message);
    this.#checkLive();
  }

  #gap(frame) {
    const count = frame.next - frame.after - 1;
    const what = count === 1 ? "1 message is" : `${count} messages are`;
    this.#handlers.onNotice(`${what} no longer in the history`);
    if (frame.next > this.#position.offset + 1) this.#advance(frame.next - 1);
    this.#checkLive();
  }

  // advance moves the position. Our own messages come as acks, which may run
  // ahead of messages that are still being replayed: those wait in acked
  // until the position has reached them.
  #advance(offset, timestamp) {
    const position = this.#position;
    position.offset = offset;
    position.timestamp = timestamp;
    for (const known of this.#acked.keys()) {
      if (known <= position.offset) this.#acked.delete(known);
    }
    while (this.#acked.has(position.offset + 1)) {
      position.offset++;
      position.timestamp = this.#acked.get(position.offset);
      this.#acked.delete(position.offset);
    }
  }

  #checkLive() {
    if (!this.#joined || this.#live || this.#position.offset < this.#head) return;
    this.#live = true;
    this.#flush();
  }

  // flush sends what waits, and again what got no ack on an earlier link. It
  // runs once everything missed has come: a message that did arrive has then
  // settled its draft. The key makes the server drop a copy in any case, for
  // as long as it remembers keys.
  #flush() {
    for (const draft of this.#outbox.values()) {
      if (draft.state === "failed") continue;
      if (draft.sentAt && Date.now() - draft.sentAt > this.#keyTtl - KEY_MARGIN_MS) {
        this.#failed(draft, "the connection was lost for too long to know whether this arrived");
        continue;
      }
      this.#publish(draft);
    }
  }

  async #publish(draft) {
    if (!this.#live) return;
    draft.state = "sent";
    draft.sentAt ??= Date.now();
    let ack;
    try {
      ack = await this.#connection.request({
        type: "message",
        to: this.#name,
        content: draft.text,
        key: draft.key,
      });
    } catch (error) {
      this.#publishFailed(draft, error);
      return;
    }
    if (!ack.duplicate) this.#ackAt(ack.offset, ack.timestamp);
    this.#done(draft, ack);
    this.#checkLive();
  }

  #publishFailed(draft, error) {
    if (!this.#outbox.has(draft.key)) return;
    if (error instanceof Disconnected) {
      if (BLAMES_A_FRAME.has(error.closeCode)) {
        this.#failed(draft, "the server closed the connection when it got this");
      } else {
        draft.state = "waiting";
        this.#handlers.onDraft(draft);
      }
      return;
    }
    if (!(error instanceof ServerError)) throw error;
    if (!error.retry) {
      this.#failed(draft, error.message);
      return;
    }
    draft.state = "waiting";
    draft.reason = error.message;
    this.#handlers.onDraft(draft);
    setTimeout(() => {
      if (draft.state === "waiting") this.#publish(draft);
    }, error.retryAfter || RETRY_MS);
  }

  #failed(draft, reason) {
    draft.state = "failed";
    draft.reason = reason;
    this.#handlers.onDraft(draft);
  }

  // bringBack puts back into the outbox what was acknowledged just before a log
  // lost its end: by default the server acknowledges some milliseconds before
  // the disk has it. What is there after all is settled by the page that is
  // loaded next, and by its key.
  #bringBack() {
    const broken = this.#brokenAt;
    const doubtful = this.#doubtful.filter(({ ackedAt }) => ackedAt <= broken && broken - ackedAt < DOUBT_MS);
    const later = [...this.#outbox];
    this.#doubtful = [];
    this.#outbox.clear();
    for (const { draft } of doubtful) {
      Object.assign(draft, { state: "waiting", offset: undefined });
      this.#outbox.set(draft.key, draft);
      this.#handlers.onDraft(draft);
    }
    for (const [key, draft] of later) this.#outbox.set(key, draft);
  }

  // settle ends the draft that a stored message came from. It reports whether
  // there was one.
  #settle(message) {
    const draft = message.key && this.#outbox.get(message.key);
    if (!draft) return false;
    this.#done(draft, message);
    return true;
  }

  #done(draft, { offset, timestamp, msgId }) {
    if (!this.#outbox.delete(draft.key)) return;
    Object.assign(draft, { state: "done", reason: "", offset, timestamp, msgId });
    const ackedAt = performance.now();
    this.#doubtful = this.#doubtful.filter((one) => ackedAt - one.ackedAt < DOUBT_MS);
    this.#doubtful.push({ draft, ackedAt });
    this.#handlers.onDraft(draft);
  }

  #ackAt(offset, timestamp) {
    if (offset === this.#position.offset + 1) this.#advance(offset, timestamp);
    else if (offset > this.#position.offset) this.#acked.set(offset, timestamp);
  }
}

// randomKey returns 128 random bits in hex. crypto.randomUUID would do, but
// pages from plain http on other hosts do not have it.
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
