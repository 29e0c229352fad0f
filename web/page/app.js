// The page: who talks where stands in its address, as /?name=ana&room=lobby, so
// that two windows can be two people and a reload keeps both. with=bob opens
// the direct conversation with bob.

import { Connection } from "/connection.js";
import { Conversations } from "/conversations.js";
import { byId } from "/elements.js";
import { Dialogs } from "/host.js";
import { Members } from "/members.js";
import { Panel } from "/panel.js";
import { inboxOf, ownerOf, Room } from "/room.js";
import { Uploads } from "/uploads.js";
import { View } from "/view.js";

// Codes that a token, or another one, may cure.
const WANTS_TOKEN = new Set(["unauthenticated", "invalid_token", "token_expired", 4401, 4402]);

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
  #token;
  #status = ""; // as it was chosen here, if it was

  constructor(name, room, token) {
    this.#name = room;
    this.#token = token;
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (!token) url.searchParams.set("user", name);
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
    if (this.#token) {
      this.#connection.send({
        type: "auth",
        token: this.#token,
        deviceInfo: { type: "browser", os: navigator.platform },
      });
    }
    this.#room.join();
  }

  #frame(frame) {
    switch (frame.type) {
      case "session":
        this.#began(frame);
        break;
      case "error":
        this.#view.toast(frame.reason);
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
    const reason = error.code === "unauthenticated" ? "This server admits users with a token." : error.message;
    welcome(reason, WANTS_TOKEN.has(error.code));
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
    if (WANTS_TOKEN.has(state.code)) welcome(state.reason, true);
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
function welcome(error = "", token = false) {
  const ended = session;
  session = null;
  ended?.close();
  const address = new URLSearchParams(location.search);
  byId("name").value = address.get("name") ?? localStorage.getItem("throng.name") ?? "";
  byId("room").value = address.get("room") ?? "lobby";
  byId("enter-error").textContent = error;
  byId("enter-error").hidden = !error;
  byId("token-field").hidden = !token;
  byId("token").value = "";
  byId("welcome").hidden = false;
  const first = [byId("name"), byId("room"), byId("token")].find((field) => !field.value && field.offsetParent);
  (first ?? byId("name")).focus();
}

function setAddress(parts) {
  history.replaceState(null, "", `/?${new URLSearchParams(parts)}`);
}

function enter(name, room, token) {
  if (ownerOf(room) !== null) {
    welcome("That is somebody's inbox. Join a room, and write to people there.");
    return;
  }
  session?.close();
  byId("welcome").hidden = true;
  session = new Session(name, room, token);
}

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("name").value.trim();
  const room = byId("room").value.trim();
  const token = byId("token").value.trim();
  if (!name || !room) {
    byId(name ? "room" : "name").focus();
    return;
  }
  localStorage.setItem("throng.name", name);
  sessionStorage.setItem("throng.token", token);
  setAddress({ name, room });
  enter(name, room, token);
});

// Someone is there, or the network is back: no reason to wait any longer.
addEventListener("online", () => session?.reconnect());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  session?.reconnect();
  session?.seen();
});

const address = new URLSearchParams(location.search);
if (address.get("name") && address.get("room")) {
  enter(address.get("name"), address.get("room"), sessionStorage.getItem("throng.token") ?? "");
} else {
  welcome();
}
