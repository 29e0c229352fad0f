// The page: who talks where stands in its address, as /?name=ana&room=lobby, so
// that two windows can be two people and a reload keeps both.

import { Connection } from "/connection.js";
import { Room } from "/room.js";
import { View } from "/view.js";

const RECOUNT_MS = 5_000; // between two looks at who is there, while someone looks at the page

const byId = (id) => document.getElementById(id);

// Codes that a token, or another one, may cure.
const WANTS_TOKEN = new Set(["unauthenticated", "invalid_token", "token_expired", 4401, 4402]);

let session = null; // the chat that is shown, while there is one

// Session wires one user in one room: connection, room and view.
class Session {
  #connection;
  #room;
  #view;
  #name; // the room's
  #token;
  #recount;

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
    this.#view = new View(name, room, {
      say: (text) => this.#room.say(text),
      retry: (key) => this.#room.retry(key),
      discard: (key) => this.#room.discard(key),
      typing: () => this.#room.typing(),
      older: (offset) => this.#room.older(offset),
      reconnect: () => this.reconnect(),
      leave: () => welcome(),
    });
    this.#room = new Room(this.#connection, room, {
      onJoined: (joined) => {
        this.#view.showState({ name: "online" });
        this.#view.onJoined(joined);
      },
      onReset: () => this.#view.onReset(),
      onPage: (messages, more) => this.#view.onPage(messages, more),
      onPageFailed: (reason) => this.#view.onPageFailed(reason),
      onMessage: (message) => this.#view.onMessage(message),
      onDraft: (draft) => this.#view.onDraft(draft),
      onTransient: (message) => this.#view.onTransient(message),
      onMembers: (count, joined, left) => this.#view.onMembers(count, joined, left),
      onNotice: (text) => this.#view.onNotice(text),
      onRefused: (error) => {
        const reason = error.code === "unauthenticated" ? "This server admits users with a token." : error.message;
        welcome(reason, WANTS_TOKEN.has(error.code));
      },
      onClosed: (reason) => this.#view.onClosed(reason),
    });
    this.#connection.connect();
    this.#recount = setInterval(() => {
      if (!document.hidden) this.#room.recount();
    }, RECOUNT_MS);
  }

  // reconnect tries again at once, if there is no link.
  reconnect() {
    this.#connection.connect();
  }

  close() {
    clearInterval(this.#recount);
    this.#room.leave();
    this.#connection.close();
    this.#view.close();
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
        this.#room.setLimits(frame.limits);
        setAddress(frame.userId, this.#name); // with a token, it says who this is
        this.#view.setUser(frame.userId, frame.limits.message);
        break;
      case "error":
        this.#view.toast(frame.reason);
        break;
      default:
        this.#room.receive(frame);
    }
  }

  #state(state) {
    if (state.name === "open") return; // online is who has joined
    if (state.name !== "connecting") this.#room.disconnected();
    this.#view.showState(state);
    if (state.name !== "closed") return;
    if (WANTS_TOKEN.has(state.code)) welcome(state.reason, true);
    else this.#view.toast(state.reason);
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

function setAddress(name, room) {
  history.replaceState(null, "", `/?${new URLSearchParams({ name, room })}`);
}

function enter(name, room, token) {
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
  setAddress(name, room);
  enter(name, room, token);
});

// Someone is there, or the network is back: no reason to wait any longer.
addEventListener("online", () => session?.reconnect());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) session?.reconnect();
});

const address = new URLSearchParams(location.search);
if (address.get("name") && address.get("room")) {
  enter(address.get("name"), address.get("room"), sessionStorage.getItem("throng.token") ?? "");
} else {
  welcome();
}
