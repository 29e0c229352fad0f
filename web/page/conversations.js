// The conversations: the room, and one with each user that direct messages go
// to or come from. All direct messages stand in one stream, the user's inbox,
// and are told apart here. It knows nothing of the page.

import { Files } from "/files.js";
import { Marks } from "/marks.js";
import { inboxOf, ownerOf } from "/room.js";
import { Coverage, Timeline } from "/timeline.js";

const TYPING_MS = 4_000; // how long a notice of typing holds
const DIRECT_MAX = 1_000; // conversations; past it strangers' messages are not shown

export class Conversation {
  address; // where its messages go: the room, or an inbox
  peer; // the other user, or null for the room
  stream; // the Room that carries it
  timeline;
  unread = 0;
  activeAt = 0; // when the last message came
  text = ""; // what stands in its composer
  loading = false; // a page of history is on its way
  joined = false; // its stream was, once
  trouble = ""; // why a page did not come
  #typists = new Map(); // user → timer

  constructor(address, stream, coverage) {
    this.address = address;
    this.peer = ownerOf(address);
    this.stream = stream;
    this.timeline = new Timeline(coverage);
  }

  get typists() {
    return [...this.#typists.keys()];
  }

  typing(user, onEnd) {
    clearTimeout(this.#typists.get(user));
    const end = () => {
      this.stopTyping(user);
      onEnd();
    };
    this.#typists.set(user, setTimeout(end, TYPING_MS));
  }

  stopTyping(user) {
    clearTimeout(this.#typists.get(user));
    this.#typists.delete(user);
  }

  forgetTypists() {
    for (const user of this.typists) this.stopTyping(user);
  }
}

// Conversations calls these handlers:
//
//   onChange(conversation)  something of it is to be shown anew
//   onIncoming(conversation, from, text)  somebody else's live message
//   onNotice(conversation, text)  a line in its timeline
export class Conversations {
  user;
  room; // the room's conversation
  shown; // the one that the page shows
  inbox = null; // the Room of the inbox, once there is one
  files = new Files(() => this.#handlers.onChange(this.shown));
  #handlers;
  #direct = new Map(); // peer → Conversation
  #coverage = new Coverage(); // of the inbox
  #inboxJoined = false;
  #marks;

  constructor(user, handlers) {
    this.#handlers = handlers;
    this.setUser(user);
  }

  // setUser says who this is. It is called before any message comes.
  setUser(user) {
    this.user = user;
    this.#marks = new Marks(user);
  }

  setRoom(name, stream) {
    this.room = this.shown = new Conversation(name, stream);
  }

  // list returns the room and then the direct conversations, the last active
  // first.
  get list() {
    return [this.room, ...[...this.#direct.values()].sort((a, b) => b.activeAt - a.activeAt)];
  }

  get unread() {
    return this.list.reduce((sum, { unread }) => sum + unread, 0);
  }

  // direct returns the conversation with a user, a new one if need be, or null
  // where there are too many.
  direct(peer) {
    let found = this.#direct.get(peer);
    if (found || this.#direct.size >= DIRECT_MAX) return found ?? null;
    found = new Conversation(inboxOf(peer), this.inbox, this.#coverage.copy());
    found.joined = this.#inboxJoined;
    this.#direct.set(peer, found);
    return found;
  }

  // show makes a conversation the one that the page shows, and read.
  show(conversation) {
    conversation.activeAt ||= Date.now();
    this.shown = conversation;
    this.read();
  }

  // read marks all of the shown conversation as read.
  read() {
    const { shown } = this;
    const last = shown.timeline.items.findLast((item) => item.kind === "message" && !item.own);
    if (shown.peer !== null && last?.msgId) this.#marks.raise("read", shown.peer, last.msgId);
    shown.unread = 0;
    this.#handlers.onChange(shown);
  }

  close() {
    this.files.close();
    this.forgetTypists();
  }

  forgetTypists() {
    for (const conversation of this.list) conversation.forgetTypists();
  }

  // --- what the streams report (the handlers of Room)

  joined(stream, { recovered }) {
    if (stream === this.inbox) this.#inboxJoined = true;
    for (const conversation of this.#of(stream)) {
      conversation.joined = true;
      conversation.loading = !recovered; // the first page is on its way
      conversation.trouble = "";
      this.#handlers.onChange(conversation);
    }
  }

  reset(stream) {
    if (stream === this.inbox) this.#coverage = new Coverage();
    for (const conversation of this.#of(stream)) conversation.timeline.forget();
  }

  page(stream, messages, more, before) {
    // Newest first: a file's pieces come before what announces it.
    for (const message of messages.toReversed()) this.#add(message, false);
    if (stream === this.inbox) this.#coverage.extend(messages, before, more);
    for (const conversation of this.#of(stream)) {
      conversation.timeline.coverage.extend(messages, before, more);
      conversation.loading = false;
      conversation.trouble = "";
      this.#handlers.onChange(conversation);
    }
  }

  // older loads the page above what the shown conversation has.
  async older() {
    const { stream, timeline } = this.shown;
    this.shown.loading = true;
    this.#handlers.onChange(this.shown);
    try {
      await stream.older(timeline.coverage.reach);
    } catch (error) {
      this.pageFailed(stream, error.message);
    }
  }

  // load looks for the pieces of an item's file in the history.
  async load({ file, offset }) {
    const { stream } = this.shown;
    await this.files.load(file, (visit) => stream.scan(offset - 1, visit));
  }

  pageFailed(stream, reason) {
    for (const conversation of this.#of(stream)) {
      conversation.loading = false;
      conversation.trouble = reason;
      this.#handlers.onChange(conversation);
    }
  }

  message(message) {
    const added = this.#add(message, true);
    if (!added) return;
    const { conversation, item } = added;
    conversation.stopTyping(item.from);
    this.#handlers.onChange(conversation);
    if (!item.own && !item.deleted) this.#handlers.onIncoming(conversation, item.from, item.text);
  }

  // deleted takes it that the message at an offset of a stream is no more.
  deleted(stream, offset) {
    for (const conversation of this.#of(stream)) {
      if (conversation.timeline.retract(offset)) this.#handlers.onChange(conversation);
    }
  }

  draft(draft) {
    const peer = ownerOf(draft.to);
    const conversation = peer === null ? this.room : this.direct(peer);
    conversation.timeline.draft(draft, this.user);
    if (draft.state === "done") {
      conversation.activeAt = Math.max(conversation.activeAt, draft.timestamp);
      if (peer !== null) conversation.timeline.delivered(this.#marks.get("delivered", peer));
    }
    this.#handlers.onChange(conversation);
  }

  transient({ from, to, content }) {
    if (content?.typing !== true || from === this.user) return;
    const conversation = ownerOf(to) === null ? this.room : this.#direct.get(from);
    conversation?.typing(from, () => this.#handlers.onChange(conversation));
    if (conversation) this.#handlers.onChange(conversation);
  }

  // delivered takes the receipt of what we wrote to a user.
  delivered({ to, msgId }) {
    const peer = ownerOf(to);
    this.#marks.raise("delivered", peer, msgId);
    const conversation = this.#direct.get(peer);
    conversation?.timeline.delivered(msgId);
    if (conversation) this.#handlers.onChange(conversation);
  }

  notice(stream, text, at) {
    if (stream !== this.room.stream) return; // the inbox's are shown with no conversation
    this.room.timeline.notice(text, at);
    this.#handlers.onNotice(this.room, text);
  }

  #of(stream) {
    return stream === this.inbox ? [...this.#direct.values()] : [this.room];
  }

  // add puts a stored message where it belongs. It returns null where it is
  // known, or a piece of a file.
  #add(message, live) {
    const file = this.files.take(message, live);
    if (file === true) return null;
    const own = message.from === this.user;
    const owner = ownerOf(message.to);
    const peer = own ? owner : message.from;
    const conversation = owner === null ? this.room : this.direct(peer);
    const item = conversation?.timeline.add(message, own, file);
    if (!item) return null;
    conversation.activeAt = Math.max(conversation.activeAt, message.timestamp);
    if (owner !== null && own) conversation.timeline.delivered(this.#marks.get("delivered", peer));
    if (own && live) conversation.unread = 0; // written on another device, by one who has read
    if (!own && !item.deleted && this.#counts(conversation, message, live)) conversation.unread++;
    return { conversation, item };
  }

  // counts reports whether somebody's message is one that was not read.
  #counts({ peer }, { msgId }, live) {
    return peer === null ? live : msgId > this.#marks.get("read", peer);
  }
}
