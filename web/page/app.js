// The page: who talks where stands in its address, as /?name=ana&room=lobby, so
// that two windows can be two people and a reload keeps both. with=bob opens
// the direct conversation with bob.

import { Account, Refused } from "/account.js";
import { Connection } from "/connection.js";
import { Conversations } from "/conversations.js";
import { byId } from "/elements.js";
import { Dialogs } from "/host.js";
import { Members } from "/members.js";
import { Panel } from "/panel.js";
import { inboxOf, ownerOf, Room } from "/room.js";
import { Uploads } from "/uploads.js";
import { View } from "/view.js";

// Codes that a login, or another token, may cure.
const WANTS_LOGIN = new Set(["unauthenticated", "invalid_token", "token_expired", "revoked", 4401, 4402, 4403]);
const TOKEN_EXPIRED = 4402;

let session = null; // the chat that is shown, while there is one

// Session wires one user in one room: connection, room, inbox and view.
class Session {
  #connection;
  #room;
  #chats;
  #members;
  #uploads;
  #view;
  #panel;
  #dialogs;
  #name; // the room's
  #account;
  #status = ""; // as it was chosen here, if it was

  constructor(name, room, account) {
    this.#name = room;
    this.#account = account;
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (!account.token) url.searchParams.set("user", name);
    this.#connection = new Connection(url, {
      onOpen: () => this.#opened(),
      onFrame: (frame) => this.#frame(frame),
      onState: (state) => this.#state(state),
    });
    this.#members = new Members(room, (frame) => this.#connection.request(frame), () => this.#membersChanged());
    this.#chats = new Conversations(name, {
      onChange: (conversation) => this.#changed(conversation),
      onIncoming: (conversation, from, text) => this.#incoming(conversation, from, text),
      onNotice: (_, text) => {
        this.#view.announce(text);
        this.#view.refresh();
      },
    });
    this.#uploads = new Uploads(this.#chats.files);
    this.#room = this.#newRoom(room);
    this.#chats.setRoom(room, this.#room);
    this.#makeView();
    this.#connection.connect();
  }

  // reconnect tries again at once, if there is no link.
  reconnect() {
    this.#connection.connect();
  }

  // seen marks what is shown as read: someone looks at it.
  seen() {
    this.#chats.read();
  }

  // logout ends the login, and with it the chat.
  logout() {
    this.#account.logout();
    welcome("", true);
  }

  close() {
    this.#room.leave();
    this.#chats.inbox?.leave();
    this.#connection.close();
    this.#members.lost();
    for (const part of [this.#chats, this.#dialogs, this.#panel, this.#view]) part.close();
  }

  #makeView() {
    const chats = this.#chats;
    const direct = (user) => this.#direct(user);
    this.#view = new View(chats, this.#members, {
      say: (text) => chats.shown.stream.say(text, chats.shown.address),
      retry: (key) => chats.shown.stream.retry(key),
      discard: (key) => chats.shown.stream.discard(key),
      typing: () => chats.shown.stream.typing(chats.shown.address),
      attach: (files) => this.#attach(files),
      direct,
      loadFile: (item) => this.#load(item),
      retryFile: ({ file }) => this.#uploads.retry(file),
      cancelFile: ({ file }) => this.#uploads.cancel(file),
      older: () => chats.older(),
      reconnect: () => this.reconnect(),
      leave: () => welcome(),
    });
    this.#dialogs = new Dialogs(chats, this.#members, {
      direct,
      host: (change) => this.#connection.request({ type: "host", room: this.#name, ...change }),
      toast: (text) => this.#view.toast(text),
    });
    this.#panel = new Panel(chats, this.#members, {
      open: (conversation) => this.#show(conversation),
      person: (user) => this.#dialogs.person(user),
      status: (status) => this.#setStatus(status),
    });
  }

  // newRoom makes the stream of the room, or of the inbox.
  #newRoom(name) {
    const chats = this.#chats;
    const inbox = ownerOf(name) !== null;
    const stream = new Room(this.#connection, name, {
      onJoined: (joined) => {
        chats.joined(stream, joined);
        if (!inbox) this.#joined(stream, joined);
      },
      onReset: () => {
        chats.reset(stream);
        if (chats.shown.stream === stream) this.#view.reset();
      },
      onPage: (messages, more, before) => {
        chats.page(stream, messages, more, before);
        if (!document.hidden) chats.read();
      },
      onPageFailed: (reason) => chats.pageFailed(stream, reason),
      onMessage: (message) => chats.message(message),
      onDeleted: (offset) => chats.deleted(stream, offset),
      onDraft: (draft) => {
        if (!draft.piece) chats.draft(draft);
        if (draft.piece || draft.file) this.#uploads.onDraft(draft);
      },
      onTransient: (message) => {
        if (!inbox) this.#members.setStatus(message.from, message.content?.status);
        chats.transient(message);
      },
      onMembers: (count, joined, left) => this.#membersMoved(count, joined, left),
      onUpdated: (room) => this.#members.updated(room),
      onNotice: (text) => chats.notice(stream, text),
      onRefused: (error) => this.#refused(inbox, error),
      onClosed: (reason) => {
        this.#members.lost();
        chats.notice(stream, this.#view.closed(reason));
      },
    });
    return stream;
  }

  #opened() {
    this.#authenticate();
    this.#room.join();
  }

  // authenticate shows the token, at the beginning and whenever it is a fresh
  // one.
  #authenticate() {
    if (!this.#account.token) return;
    this.#connection.send({
      type: "auth",
      token: this.#account.token,
      deviceInfo: { type: "browser", os: navigator.platform },
    });
  }

  // renew gets a fresh token before the old one ends, or after.
  async #renew(then) {
    try {
      await this.#account.renew();
    } catch (error) {
      if (session !== this) return;
      if (error instanceof Refused) welcome(error.message, true);
      else this.#view.toast(`The login could not be renewed: ${error.message}`);
      return;
    }
    if (session === this) then();
  }

  #frame(frame) {
    switch (frame.type) {
      case "session":
        this.#began(frame);
        break;
      case "error":
        this.#view.toast(frame.reason);
        break;
      case "token_expiring":
        if (this.#account.renewable) this.#renew(() => this.#authenticate());
        break;
      case "delivered":
        this.#chats.delivered(frame);
        break;
      default:
        this.#room.receive(frame);
        this.#chats.inbox?.receive(frame);
    }
  }

  // began takes the session's first frame: with a token, it says who this is.
  #began({ userId, limits }) {
    const chats = this.#chats;
    this.#uploads.limits = limits;
    this.#view.setLimits(limits);
    const first = chats.inbox === null;
    if (first) {
      chats.setUser(userId);
      chats.inbox = this.#newRoom(inboxOf(userId));
    }
    for (const stream of [this.#room, chats.inbox]) stream.setLimits(limits);
    chats.inbox.join();
    if (this.#status) this.#connection.send({ type: "status", status: this.#status });
    if (!first) return;
    const peer = new URLSearchParams(location.search).get("with");
    if (peer) this.#direct(peer);
    else this.#show(chats.room);
  }

  #joined(stream, joined) {
    this.#view.showState({ name: "online" });
    this.#view.reopened();
    this.#members.joined(joined);
    if (!joined.resumed) return;
    const { recovered, missed } = joined;
    const outcome = !recovered
      ? "the history was reloaded"
      : missed === 0
        ? "nothing was missed"
        : `recovered ${missed === 1 ? "1 message" : `${missed} messages`}`;
    this.#view.pass(outcome); // the notice may have scrolled out of sight
    this.#chats.notice(stream, `Reconnected: ${outcome}`, joined.at);
  }

  #refused(inbox, error) {
    if (inbox) return; // this user may have no direct messages; the room does all the same
    const reason = error.code === "unauthenticated" ? "This server asks who you are." : error.message;
    welcome(reason, WANTS_LOGIN.has(error.code));
  }

  #state(state) {
    if (state.name === "open") return; // online is who has joined
    if (state.name !== "connecting") {
      this.#room.disconnected();
      this.#chats.inbox?.disconnected();
      this.#chats.forgetTypists();
      this.#members.lost();
    }
    this.#view.showState(state);
    if (state.name !== "closed") return;
    if (state.code === TOKEN_EXPIRED && this.#account.renewable) this.#renew(() => this.reconnect());
    else if (WANTS_LOGIN.has(state.code)) welcome(state.reason, true);
    else this.#view.toast(state.reason);
  }

  #changed(conversation) {
    if (conversation === this.#chats.shown) this.#view.refresh();
    else this.#view.retitle();
    this.#panel.refresh();
  }

  #membersChanged() {
    this.#view?.refresh();
    this.#panel?.refresh();
    this.#dialogs?.refresh();
  }

  #membersMoved(count, joined, left) {
    this.#members.changed(count, joined, left);
    if (left) this.#chats.room.stopTyping(left);
    if (joined || left) this.#view.pass(joined ? `${joined} joined` : `${left} left`);
    if (joined && this.#status) this.#room.whisper({ status: this.#status });
  }

  #incoming(conversation, from, text) {
    this.#view.announce(`${from}: ${text}`);
    if (conversation === this.#chats.shown && !document.hidden) this.#chats.read();
  }

  // setStatus tells the server, and those who list the members right now.
  #setStatus(status) {
    this.#status = status;
    this.#connection.send({ type: "status", status });
    this.#room.whisper({ status });
    this.#members.setStatus(this.#chats.user, status);
  }

  #direct(user) {
    const conversation = this.#chats.inbox && this.#chats.direct(user);
    if (conversation) this.#show(conversation);
    else this.#view.toast("No further conversation can be opened here.");
  }

  #show(conversation) {
    const { peer } = conversation;
    this.#chats.show(conversation);
    setAddress({ name: this.#chats.user, room: this.#name, ...(peer !== null && { with: peer }) });
    this.#view.show();
  }

  async #attach(files) {
    const { user, shown } = this.#chats;
    for (const file of files) {
      try {
        await this.#uploads.send(user, shown, file);
      } catch (error) {
        this.#view.toast(error.message);
      }
    }
  }

  async #load(item) {
    try {
      await this.#chats.load(item);
    } catch (error) {
      this.#view.toast(`The history could not be read: ${error.message}`);
    }
  }
}

// welcome shows the form: who, and where. It ends the chat that is shown.
function welcome(error = "", login = false) {
  const ended = session;
  session = null;
  ended?.close();
  const address = new URLSearchParams(location.search);
  byId("name").value = address.get("name") ?? localStorage.getItem("throng.name") ?? "";
  byId("room").value = address.get("room") ?? "lobby";
  byId("enter-error").textContent = error;
  byId("enter-error").hidden = !error;
  byId("credentials").hidden = !login;
  byId("password").value = byId("token").value = "";
  byId("register").checked = false;
  byId("welcome").hidden = false;
  const first = [byId("name"), byId("room"), byId("password")].find((field) => !field.value && field.offsetParent);
  (first ?? byId("name")).focus();
}

function setAddress(parts) {
  history.replaceState(null, "", `/?${new URLSearchParams(parts)}`);
}

function enter(name, room, account) {
  if (ownerOf(room) !== null) {
    welcome("That is somebody's inbox. Join a room, and write to people there.");
    return;
  }
  session?.close();
  byId("welcome").hidden = true;
  byId("logout").hidden = !account.renewable;
  account.keep();
  session = new Session(name, room, account);
}

// identify returns who the form says this is.
async function identify(name) {
  const token = byId("token").value.trim();
  const password = byId("password").value;
  if (token) return new Account(token);
  if (!password) return new Account();
  return Account.login(name, password, byId("register").checked);
}

byId("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = byId("name").value.trim();
  const room = byId("room").value.trim();
  if (!name || !room) {
    byId(name ? "room" : "name").focus();
    return;
  }
  localStorage.setItem("throng.name", name);
  setAddress({ name, room });
  byId("submit").disabled = true;
  try {
    enter(name, room, await identify(name));
  } catch (error) {
    welcome(error.message, true);
  } finally {
    byId("submit").disabled = false;
  }
});

byId("logout").addEventListener("click", () => session?.logout());

// Someone is there, or the network is back: no reason to wait any longer.
addEventListener("online", () => session?.reconnect());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  session?.reconnect();
  session?.seen();
});

const address = new URLSearchParams(location.search);
if (address.get("name") && address.get("room")) {
  enter(address.get("name"), address.get("room"), Account.stored());
} else {
  welcome();
}
