// The view: everything of the chat that is not a row of the timeline. It shows
// what the room and the connection report, and hands on what the user does.

import { List } from "/list.js";
import { textOf, Timeline } from "/timeline.js";

const TOAST_MS = 7_000;
const TYPING_MS = 4_000;
const PASSING_MS = 5_000; // how long "bob joined" stands
const CONTENT_MAX = 64 << 10; // the server's default limit on content, in bytes

const byId = (id) => document.getElementById(id);
const encoder = new TextEncoder();

const CLOSED_REASONS = {
  kicked: "The room's host has put you out.",
  banned: "The room's host has banned you.",
  room_closed: "The room's host has closed the room.",
};

// View takes what the user does as actions: say(text) → draft or null,
// retry(key), discard(key), typing(), reconnect(), older(offset) → promise,
// leave().
export class View {
  #actions;
  #user;
  #room;
  #timeline = new Timeline();
  #list;
  #loading = false;
  #joined = false; // at least once: the timeline says something
  #members = 0;
  #unreadHidden = 0;
  #contentMax = CONTENT_MAX;
  #typists = new Map(); // user → timer
  #timers = { toast: 0, passing: 0, clock: 0 };
  #listeners = new AbortController();

  constructor(user, room, actions) {
    this.#user = user;
    this.#room = room;
    this.#actions = actions;
    this.#list = new List(this.#timeline, byId("scroller"), byId("timeline"), {
      onTop: () => this.#loadOlder(),
      onUnread: (count) => this.#showPill(count),
    });
    byId("room-name").textContent = room;
    byId("second").href = `/?room=${encodeURIComponent(room)}`;
    this.#showPresence("");
    this.#setEdge("", false);
    this.#listen();
    this.#retitle();
    byId("chat").hidden = false;
    byId("text").focus();
  }

  // close ends the view and leaves an empty page.
  close() {
    this.#listeners.abort();
    this.#list.close();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    for (const timer of this.#typists.values()) clearTimeout(timer);
    byId("chat").hidden = true;
    byId("toast").hidden = true;
    document.title = "throng";
  }

  // --- what the connection reports

  showState(state) {
    clearInterval(this.#timers.clock);
    const chip = byId("state");
    chip.dataset.state = state.name;
    chip.disabled = state.name === "connecting" || state.name === "online";
    chip.title = chip.disabled ? "" : "Try again now";
    if (state.name !== "offline") {
      byId("state-text").textContent = { connecting: "Connecting", online: "Online", closed: "Disconnected" }[state.name];
      return;
    }
    this.#forgetTypists();
    this.#members = 0; // not known
    this.#showPresence("");
    this.#announce("Offline");
    const tell = () => {
      const seconds = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
      byId("state-text").textContent = `Offline, next try in ${seconds} s`;
    };
    tell();
    this.#timers.clock = setInterval(tell, 250);
  }

  setUser(user, contentMax) {
    this.#user = user;
    this.#contentMax = contentMax;
    this.#showPresence("");
    this.#retitle();
  }

  toast(text) {
    const toast = byId("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.#timers.toast);
    this.#timers.toast = setTimeout(() => (toast.hidden = true), TOAST_MS);
  }

  // --- what the room reports (the handlers of Room)

  onJoined({ members, recovered, missed, resumed, at }) {
    this.#joined = true;
    this.#loading = !recovered; // the first page is on its way
    this.#setEdge(this.#timeline.more === false ? this.#beginning() : "", false);
    this.#members = members;
    byId("text").disabled = false;
    this.#showPresence("");
    if (!resumed) return;
    const outcome = !recovered
      ? "the history was reloaded"
      : missed === 0
        ? "nothing was missed"
        : `recovered ${missed === 1 ? "1 message" : `${missed} messages`}`;
    this.#showPresence(outcome); // the notice may have scrolled out of sight
    this.#notice(`Reconnected: ${outcome}`, at);
  }

  onReset() {
    this.#timeline.forget();
    this.#list.toEnd();
  }

  onPage(messages, more) {
    for (const message of messages) this.#timeline.add(message, message.from === this.#user);
    this.#timeline.more = more;
    this.#loading = false;
    this.#setEdge(more ? "" : this.#beginning(), false);
    this.#changed();
  }

  onPageFailed(reason) {
    this.#loading = false;
    this.#setEdge(`Older messages could not be loaded: ${reason}`, true);
    this.#changed();
  }

  onMessage(message) {
    const own = message.from === this.#user;
    if (!this.#timeline.add(message, own)) return;
    this.#stopTyping(message.from);
    this.#changed();
    if (own) return;
    this.#announce(`${message.from}: ${textOf(message)}`);
    if (document.hidden) {
      this.#unreadHidden++;
      this.#retitle();
    }
  }

  onDraft(draft) {
    this.#timeline.draft(draft, this.#user);
    if (draft.state === "failed") this.#announce(`Not sent: ${draft.reason}`);
    this.#changed();
  }

  onTransient(message) {
    if (message.content?.typing !== true || message.from === this.#user) return;
    clearTimeout(this.#typists.get(message.from));
    this.#typists.set(message.from, setTimeout(() => this.#stopTyping(message.from), TYPING_MS));
    this.#showTypists();
  }

  onMembers(count, joined, left) {
    if (count === this.#members && !joined && !left) return;
    this.#members = count;
    if (left) this.#stopTyping(left);
    this.#showPresence(joined ? `${joined} joined` : left ? `${left} left` : "");
  }

  onNotice(text) {
    this.#notice(text);
  }

  onClosed(reason) {
    const text = CLOSED_REASONS[reason] ?? `The room was closed: ${reason}`;
    this.#notice(text);
    byId("text").disabled = true;
    byId("send").disabled = true;
  }

  // --- what the user does

  #listen() {
    const { signal } = this.#listeners;
    const on = (target, type, handler) => target.addEventListener(type, handler, { signal });
    const text = byId("text");
    on(byId("composer"), "submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    on(text, "input", () => {
      this.#sizeComposer();
      if (text.value) this.#actions.typing();
    });
    on(text, "keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#say();
    });
    on(byId("leave"), "click", () => this.#actions.leave());
    on(byId("state"), "click", () => this.#actions.reconnect());
    on(byId("pill"), "click", () => this.#list.toEnd());
    on(byId("edge"), "click", (event) => {
      if (event.target.tagName !== "BUTTON") return;
      this.#setEdge("", false);
      this.#loadOlder();
    });
    on(byId("timeline"), "click", ({ target }) => {
      const { action, key } = target.dataset;
      if (action) this.#actions[action](key);
    });
    on(document, "visibilitychange", () => {
      if (document.hidden) return;
      this.#unreadHidden = 0;
      this.#retitle();
    });
  }

  #say() {
    const field = byId("text");
    const text = field.value.trim().toWellFormed(); // half a character is no JSON
    if (!text || field.disabled || this.#excess(text) > 0) return;
    if (!this.#actions.say(text)) {
      this.toast("Too many messages are waiting for the server. Wait until some have gone out.");
      return;
    }
    field.value = "";
    this.#sizeComposer();
    this.#list.toEnd();
    field.focus();
  }

  #sizeComposer() {
    const field = byId("text");
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    const excess = this.#excess(field.value.trim());
    byId("composer-hint").textContent =
      excess > 0 ? `Too long by ${excess.toLocaleString()} bytes of ${this.#contentMax.toLocaleString()}` : "";
    byId("send").disabled = field.value.trim() === "" || excess > 0;
  }

  #excess(text) {
    if (text.length * 6 < this.#contentMax) return 0; // no character takes more
    return encoder.encode(JSON.stringify(text)).length - this.#contentMax;
  }

  async #loadOlder() {
    const timeline = this.#timeline;
    if (this.#loading || !this.#joined || timeline.more === false || !byId("edge-retry").hidden) return;
    if (timeline.full) {
      this.#setEdge("This page keeps no more messages than these", false);
      return;
    }
    this.#loading = true;
    this.#setEdge("Loading older messages", false);
    try {
      await this.#actions.older(timeline.oldest);
    } catch (error) {
      this.onPageFailed(error.message);
    }
  }

  // --- how it is shown

  #changed() {
    byId("empty").hidden = this.#timeline.items.length > 0 || this.#timeline.more !== false;
    byId("edge").hidden = !byId("empty").hidden;
    this.#list.refresh();
  }

  #notice(text, at) {
    this.#timeline.notice(text, at);
    this.#announce(text);
    this.#changed();
  }

  // announce tells it to those who do not see the page.
  #announce(text) {
    byId("announce").textContent = text;
  }

  #beginning() {
    return this.#timeline.oldest > 1 ? "Older messages are no longer kept" : `This is where ${this.#room} begins`;
  }

  #setEdge(text, retry) {
    byId("edge-text").textContent = text;
    byId("edge-retry").hidden = !retry;
  }

  #showPill(count) {
    const pill = byId("pill");
    pill.hidden = count === 0;
    pill.classList.toggle("quiet", count < 0);
    pill.textContent = count > 0 ? `${count} new message${count === 1 ? "" : "s"}` : "Latest";
  }

  #showPresence(passing) {
    clearTimeout(this.#timers.passing);
    const parts = [`You are ${this.#user}`];
    if (this.#members === 1) parts.push("nobody else is here");
    if (this.#members > 1) parts.push(`${this.#members} people`);
    if (passing) parts.push(passing);
    byId("presence").textContent = parts.join(" · ");
    if (passing) this.#timers.passing = setTimeout(() => this.#showPresence(""), PASSING_MS);
  }

  #showTypists() {
    const names = [...this.#typists.keys()];
    byId("typing").textContent =
      names.length === 0 ? "" : names.length === 1 ? `${names[0]} is writing` : `${names.length} people are writing`;
  }

  #stopTyping(user) {
    clearTimeout(this.#typists.get(user));
    if (this.#typists.delete(user)) this.#showTypists();
  }

  #forgetTypists() {
    for (const user of [...this.#typists.keys()]) this.#stopTyping(user);
  }

  #retitle() {
    const unread = this.#unreadHidden ? `(${this.#unreadHidden}) ` : "";
    document.title = `${unread}${this.#room} · ${this.#user}`;
  }
}
