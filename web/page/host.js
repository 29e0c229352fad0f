// The dialogs: of a person, and, for the room's host, of the room.

import { byId } from "/elements.js";
import { STATUSES } from "/members.js";

// What the host may do to a person, by the name of the command's field, and
// what is shown once it is done.
const DEEDS = {
  mute: "cannot write here any more",
  unmute: "can write here",
  kick: "was put out",
  ban: "was put out, and stays out",
  unban: "may come in",
  handOver: "is the host now",
};

// Dialogs takes what the user does as actions: direct(user), host(change) →
// promise of the reply, toast(text).
export class Dialogs {
  #chats;
  #members;
  #actions;
  #user = ""; // of whom the person's dialog is
  #listeners = new AbortController();

  constructor(chats, members, actions) {
    this.#chats = chats;
    this.#members = members;
    this.#actions = actions;
    const { signal } = this.#listeners;
    const on = (id, type, handler) => byId(id).addEventListener(type, handler, { signal });
    for (const id of ["person", "settings"]) {
      on(id, "click", ({ target }) => {
        if (target === byId(id) || target.dataset.close !== undefined) byId(id).close();
      });
    }
    on("person-write", "click", () => {
      byId("person").close();
      actions.direct(this.#user);
    });
    on("person-deeds", "click", ({ target }) => {
      const { deed } = target.dataset;
      if (!deed) return;
      byId("person").close();
      this.#do({ [deed]: this.#user }, `${this.#user} ${DEEDS[deed]}`);
    });
    on("settings-open", "click", () => this.#openSettings());
    on("settings-form", "submit", (event) => {
      event.preventDefault();
      const maxUsers = byId("max-users").valueAsNumber || 0;
      byId("settings").close();
      this.#do({ maxUsers }, maxUsers ? `${maxUsers} people fit into the room` : "The room has no bound");
    });
    on("settings-close-room", "click", () => this.#closeRoom(true, "The room is closed: all others were put out"));
    on("settings-open-room", "click", () => this.#closeRoom(false, "The room is open"));
  }

  close() {
    this.#listeners.abort();
    byId("person").close();
    byId("settings").close();
  }

  // refresh shows what the room's host has, to the host alone.
  refresh() {
    byId("settings-open").hidden = !this.#hosting;
  }

  // person opens the dialog of a user.
  person(user) {
    this.#user = user;
    const own = user === this.#chats.user;
    const { statuses, host } = this.#members;
    byId("person-name").textContent = user;
    const notes = [STATUSES[statuses.get(user)] ?? "Not here", user === host && "host of the room", own && "you"];
    byId("person-status").textContent = notes.filter(Boolean).join(" · ");
    byId("person-write").textContent = own ? "Write notes to yourself" : `Write to ${user}`;
    byId("person-deeds").hidden = own || !this.#hosting;
    byId("person").showModal();
  }

  get #hosting() {
    return this.#members.host !== "" && this.#members.host === this.#chats.user;
  }

  #openSettings() {
    byId("max-users").value = this.#members.maxUsers || "";
    byId("settings").showModal();
  }

  #closeRoom(close, done) {
    byId("settings").close();
    this.#do({ close }, done);
  }

  async #do(change, done) {
    try {
      await this.#actions.host(change);
      this.#actions.toast(done);
    } catch (error) {
      this.#actions.toast(`That did not work: ${error.message}`);
    }
  }
}
