// The room: one room's stream, or one's own inbox, over a connection that comes
// and goes. It joins, resumes where it stood, keeps the position, acknowledges
// it, and sends by its outbox. It knows the protocol, not the page.

import { Disconnected, ServerError } from "/connection.js";
import { Outbox } from "/outbox.js";

export const PAGE = 60; // messages in one request for history

const INBOX = "user:"; // what the names of inboxes begin with
const RETRY_MS = 2_000; // before a join is tried again, where the server names no time
const ACK_MS = 300; // acknowledgements that fall into this time go as one
const TYPING_MS = 3_000; // between two notices of typing
const SCAN_PAGES = 200; // pages that one search of the history may take

// inboxOf names a user's inbox.
export const inboxOf = (user) => INBOX + user;

// ownerOf returns the user whose inbox a room is, or null.
export const ownerOf = (room) => (room.startsWith(INBOX) ? room.slice(INBOX.length) : null);

// Room calls these handlers, in the order of the stream:
//
//   onJoined({members, host, maxUsers, recovered, missed, resumed, at})
//                        at is the offset that the stream goes on from; missed
//                        is the number of messages that follow to catch up,
//                        where recovered; otherwise a page comes instead
//   onReset()            what is shown no longer holds: forget it
//   onPage(messages, more, before)  the messages below an offset, and whether
//                        there are still older ones
//   onPageFailed(reason)
//   onMessage(message)   the next message
//   onDeleted(offset)    the message there was deleted
//   onDraft(draft)       one of our own changed its state, see Outbox
//   onTransient(message) a message that is not kept
//   onMembers(count, joined, left)
//   onUpdated({host, maxUsers})
//   onNotice(text)
//   onRefused(error)     the room cannot be joined
//   onClosed(reason)     we were put out of the room
export class Room {
  #connection;
  #name;
  #handlers;
  #outbox;
  #position = null; // {epoch, offset, timestamp}: all up to here has been seen
  #acked = new Map(); // offset → timestamp of our own messages ahead of the position
  #head = 0; // the room's head at the join: from here on the stream is live
  #joined = false;
  #live = false; // joined, and everything missed has come
  #acknowledged = 0; // the offset up to which the server was told
  #timers = { retry: 0, acknowledge: 0 };
  #typed = { to: "", at: 0 }; // the last notice of typing

  constructor(connection, name, handlers) {
    this.#connection = connection;
    this.#name = name;
    this.#handlers = handlers;
    this.#outbox = new Outbox(connection, {
      onDraft: handlers.onDraft,
      onAck: ({ offset, timestamp }) => this.#ackAt(offset, timestamp),
    });
  }

  // join enters the room on a fresh link: for the first time, or again from
  // the position where the last one broke.
  async join() {
    this.#halt();
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
    this.#acknowledged = 0;
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
      this.#outbox.bringBack();
    }
    this.#handlers.onJoined({
      members: joined.members,
      host: joined.host ?? "",
      maxUsers: joined.maxUsers ?? 0,
      recovered,
      missed: recovered ? joined.offset - since.offset : 0,
      resumed: since !== null,
      at: this.#position.offset,
    });
    if (!recovered) await this.#firstPage();
    this.#acknowledgeSoon();
    this.#checkLive();
  }

  // setLimits takes the limits that the server told with the session.
  setLimits(limits) {
    this.#outbox.setKeyTtl(limits.keyTtl);
  }

  // disconnected is called when the link broke, or a try to have one failed. It
  // keeps what is unanswered.
  disconnected() {
    if (this.#joined) this.#outbox.broken();
    this.#halt();
  }

  leave() {
    this.disconnected();
    this.#connection.send({ type: "leave", room: this.#name });
  }

  // older loads the page below an offset, 0 for the newest, into onPage. The
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
    for (const message of messages) this.#outbox.settle(message);
    this.#handlers.onPage(messages, Boolean(reply.next), before);
  }

  // scan reads the history above an offset, oldest first, until visit returns
  // true or there is no more.
  async scan(after, visit) {
    for (let page = 0, cursor; page < SCAN_PAGES && (page === 0 || cursor); page++) {
      const reply = await this.#connection.request({
        type: "history", room: this.#name, after, limit: PAGE, cursor,
      });
      if (reply.messages.some(visit)) return;
      cursor = reply.next;
    }
  }

  // send puts a message into the outbox and returns its draft, or null where
  // the outbox is full.
  send(message) {
    return this.#outbox.add({ to: this.#name, ...message });
  }

  // say sends a text.
  say(text, to = this.#name) {
    return this.send({ to, content: text, text });
  }

  retry(key) {
    this.#outbox.retry(key);
  }

  discard(key) {
    this.#outbox.discard(key);
  }

  // typing tells the others, once in a while, that a message is being written.
  typing(to = this.#name) {
    const now = performance.now();
    if (to === this.#typed.to && now - this.#typed.at < TYPING_MS) return;
    if (this.whisper({ typing: true }, to)) this.#typed = { to, at: now };
  }

  // whisper sends what need not arrive and is kept nowhere.
  whisper(content, to = this.#name) {
    return this.#live && this.#connection.send({ type: "message", to, content, transient: true });
  }

  // receive takes a frame that the server pushed.
  receive(frame) {
    if (frame.room !== undefined && frame.room !== this.#name) return;
    switch (frame.type) {
      case "message":
        if (this.#carries(frame.to)) this.#message(frame);
        break;
      case "deleted":
        this.#handlers.onDeleted(frame.offset);
        break;
      case "member_joined":
        this.#handlers.onMembers(frame.members, frame.userId, null);
        break;
      case "member_left":
        this.#handlers.onMembers(frame.members, null, frame.userId);
        break;
      case "member_count":
        this.#handlers.onMembers(frame.members, null, null);
        break;
      case "room_updated":
        this.#handlers.onUpdated({ host: frame.host ?? "", maxUsers: frame.maxUsers ?? 0 });
        break;
      case "lag":
        this.#handlers.onNotice("This window fell behind the room and is catching up");
        break;
      case "gap":
        this.#gap(frame);
        break;
      case "room_closed":
        this.#halt();
        this.#handlers.onClosed(frame.reason);
        break;
    }
  }

  // An inbox also has what its owner wrote to others on another device.
  #carries(to) {
    return to === this.#name || (ownerOf(this.#name) !== null && ownerOf(to) !== null);
  }

  #halt() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers.acknowledge = 0;
    this.#joined = this.#live = false;
    this.#outbox.shut();
  }

  #joinFailed(error) {
    if (error instanceof Disconnected) return; // the next link joins again
    if (!(error instanceof ServerError)) throw error;
    if (!error.retry) {
      this.#handlers.onRefused(error);
      return;
    }
    this.#handlers.onNotice(`Waiting to join: ${error.message}`);
    this.#timers.retry = setTimeout(() => this.join(), error.retryAfter || RETRY_MS);
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
    // Before the join is answered, direct messages are what its page will have.
    if (!this.#joined || message.offset <= this.#position.offset) return;
    this.#advance(message.offset, message.timestamp);
    if (!this.#outbox.settle(message)) this.#handlers.onMessage(message);
    else if (message.deleted) this.#handlers.onDeleted(message.offset);
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
    this.#acknowledgeSoon();
  }

  // acknowledgeSoon tells the server how far this page has come: the authors
  // of direct messages learn of it.
  #acknowledgeSoon() {
    if (this.#timers.acknowledge) return;
    this.#timers.acknowledge = setTimeout(() => {
      this.#timers.acknowledge = 0;
      const { epoch, offset } = this.#position;
      if (!this.#joined || offset <= this.#acknowledged) return;
      this.#acknowledged = offset;
      this.#connection.send({ type: "ack", room: this.#name, epoch, offset });
    }, ACK_MS);
  }

  #checkLive() {
    if (!this.#joined || this.#live || this.#position.offset < this.#head) return;
    this.#live = true;
    this.#outbox.open();
  }

  #ackAt(offset, timestamp) {
    if (offset === this.#position.offset + 1) this.#advance(offset, timestamp);
    else if (offset > this.#position.offset) this.#acked.set(offset, timestamp);
    this.#checkLive();
  }
}
