// The view: the conversation that is shown, but for its rows and its composer.
// It shows what the conversations and the connection report, and hands on what
// the user does.

import { Composer } from "/composer.js";
import { byId } from "/elements.js";
import { List } from "/list.js";
import { STATUSES } from "/members.js";

const TOAST_MS = 7_000;
const PASSING_MS = 5_000; // how long "bob joined" stands

const CLOSED_REASONS = {
  kicked: "The room's host has put you out.",
  banned: "The room's host has banned you.",
  room_closed: "The room's host has closed the room.",
};

// View takes what the user does as actions: say(text) → draft or null,
// retry(key), discard(key), typing(), attach(files), direct(user),
// loadFile(item), retryFile(item), cancelFile(item), reconnect(), older(),
// leave().
export class View {
  #chats;
  #members;
  #actions;
  #shown = null; // the conversation in the document
  #list = null;
  #composer;
  #closedFor = ""; // why the room takes nothing more
  #passing = "";
  #timers = { toast: 0, passing: 0, clock: 0 };
  #listeners = new AbortController();

  constructor(chats, members, actions) {
    this.#chats = chats;
    this.#members = members;
    this.#actions = actions;
    this.#composer = new Composer(
      {
        say: (text) => this.#say(text),
        typing: () => actions.typing(),
        attach: (files) => actions.attach(files),
      },
      this.#listeners.signal,
    );
    byId("second").href = `/?room=${encodeURIComponent(chats.room.address)}`;
    this.#listen();
    byId("chat").hidden = false;
    this.show();
  }

  // close ends the view and leaves an empty page.
  close() {
    this.#listeners.abort();
    this.#list.close();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    byId("chat").hidden = true;
    byId("toast").hidden = true;
    document.title = "throng";
  }

  // show shows the conversation that is the shown one now.
  show() {
    if (this.#shown) this.#shown.text = this.#composer.text;
    this.#list?.close();
    const shown = this.#chats.shown;
    this.#shown = shown;
    this.#list = new List(shown.timeline, byId("scroller"), byId("timeline"), {
      onTop: () => this.#loadOlder(),
      onUnread: (count) => this.#showPill(count),
    });
    byId("room-name").textContent = this.#title;
    byId("empty-direct").hidden = shown.peer === null;
    byId("empty-room").hidden = shown.peer !== null;
    this.#composer.text = shown.text;
    this.#composer.disabled = shown.peer === null && this.#closedFor !== "";
    this.#composer.focus();
    this.#passing = "";
    this.refresh();
  }

  // refresh shows what changed of the shown conversation, and of the members.
  refresh() {
    const { timeline, trouble, loading } = this.#shown;
    const { more, reach } = timeline.coverage;
    this.retitle();
    this.#showPresence();
    this.#showTypists();
    byId("empty").hidden = timeline.items.length > 0 || more !== false;
    byId("edge").hidden = !byId("empty").hidden;
    byId("edge-retry").hidden = !trouble;
    byId("edge-text").textContent = trouble
      ? `Older messages could not be loaded: ${trouble}`
      : more === false
        ? this.#beginning(reach)
        : timeline.full
          ? "This page keeps no more messages than these"
          : loading
            ? "Loading older messages"
            : "";
    this.#list.refresh();
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
    this.announce("Offline");
    const tell = () => {
      const seconds = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
      byId("state-text").textContent = `Offline, next try in ${seconds} s`;
    };
    tell();
    this.#timers.clock = setInterval(tell, 250);
  }

  setLimits({ message }) {
    this.#composer.contentMax = message;
  }

  toast(text) {
    const toast = byId("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.#timers.toast);
    this.#timers.toast = setTimeout(() => (toast.hidden = true), TOAST_MS);
  }

  // --- what the conversations report

  // reset forgets where the shown timeline stood.
  reset() {
    this.#list.toEnd();
  }

  // closed tells why the room takes nothing more, and returns it for people.
  closed(reason) {
    this.#closedFor = CLOSED_REASONS[reason] ?? `The room was closed: ${reason}`;
    if (this.#shown.peer === null) this.#composer.disabled = true;
    return this.#closedFor;
  }

  // reopened tells that the room was joined.
  reopened() {
    this.#closedFor = "";
    this.#composer.disabled = false;
  }

  // pass shows a text beside who is there, for some seconds.
  pass(text) {
    clearTimeout(this.#timers.passing);
    this.#passing = text;
    this.#timers.passing = setTimeout(() => {
      this.#passing = "";
      this.#showPresence();
    }, PASSING_MS);
    this.#showPresence();
  }

  // announce tells it to those who do not see the page.
  announce(text) {
    byId("announce").textContent = text;
  }

  retitle() {
    const { unread } = this.#chats;
    document.title = `${unread ? `(${unread}) ` : ""}${this.#title} · ${this.#chats.user}`;
  }

  // --- what the user does

  #listen() {
    const { signal } = this.#listeners;
    const on = (target, type, handler) => target.addEventListener(type, handler, { signal });
    on(byId("leave"), "click", () => this.#actions.leave());
    on(byId("state"), "click", () => this.#actions.reconnect());
    on(byId("pill"), "click", () => this.#list.toEnd());
    on(byId("edge-retry"), "click", () => {
      this.#shown.trouble = "";
      this.#loadOlder();
    });
    on(byId("timeline"), "click", ({ target }) => {
      const button = target.closest("[data-action]");
      if (!button) return;
      const { action, key } = button.dataset;
      if (!action.endsWith("File")) {
        this.#actions[action](key);
        return;
      }
      const from = button.closest(".message").dataset.from;
      const item = this.#shown.timeline.items.findLast(({ file }) => file?.id === key && file.from === from);
      if (item) this.#actions[action](item);
    });
  }

  #say(text) {
    if (!this.#actions.say(text)) {
      this.toast("Too many messages are waiting for the server. Wait until some have gone out.");
      return false;
    }
    this.#list.toEnd();
    return true;
  }

  async #loadOlder() {
    const { timeline, loading, joined, trouble } = this.#shown;
    if (loading || !joined || trouble || timeline.coverage.more === false || timeline.full) return;
    await this.#actions.older();
  }

  // --- how it is shown

  get #title() {
    const { peer, address } = this.#shown;
    if (peer === null) return address;
    return peer === this.#chats.user ? "Notes to yourself" : peer;
  }

  #beginning(reach) {
    if (this.#shown.peer !== null) return "This is where it begins";
    return reach > 1 ? "Older messages are no longer kept" : `This is where ${this.#title} begins`;
  }

  #showPill(count) {
    const pill = byId("pill");
    pill.hidden = count === 0;
    pill.classList.toggle("quiet", count < 0);
    pill.textContent = count > 0 ? `${count} new message${count === 1 ? "" : "s"}` : "Latest";
  }

  #showPresence() {
    const { count, statuses } = this.#members;
    const { peer } = this.#shown;
    const { user } = this.#chats;
    const parts = [`You are ${user}`];
    if (peer !== null) {
      parts.push(peer === user ? "only you see this" : "only the two of you see this");
      if (peer !== user && statuses.has(peer)) parts.unshift(`${peer} is ${STATUSES[statuses.get(peer)].toLowerCase()}`);
    } else {
      if (count === 1) parts.push("nobody else is here");
      if (count > 1) parts.push(`${count.toLocaleString()} people`);
    }
    if (this.#passing) parts.push(this.#passing);
    byId("presence").textContent = parts.join(" · ");
  }

  #showTypists() {
    const names = this.#shown.typists;
    byId("typing").textContent =
      names.length === 0 ? "" : names.length === 1 ? `${names[0]} is writing` : `${names.length} people are writing`;
  }
}
