// The composer: where a message is written, and files are picked, pasted or
// dropped.

import { byId } from "/elements.js";

const CONTENT_MAX = 64 << 10; // the server's default limit on content, in bytes

const encoder = new TextEncoder();

// Composer takes what the user does as actions: say(text), which returns
// whether it was taken; typing(); attach(files).
export class Composer {
  contentMax = CONTENT_MAX;
  #actions;
  #field = byId("text");

  // signal ends it.
  constructor(actions, signal) {
    this.#actions = actions;
    const on = (target, type, handler) => target.addEventListener(type, handler, { signal });
    on(byId("composer"), "submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    on(this.#field, "input", () => {
      this.#size();
      if (this.#field.value) actions.typing();
    });
    on(this.#field, "keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#say();
    });
    on(byId("attach"), "click", () => byId("file").click());
    on(byId("file"), "change", ({ target }) => {
      this.#attach(target.files);
      target.value = ""; // the same file may be picked again
    });
    on(this.#field, "paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.#attach(event.clipboardData.files);
    });
    this.#listenForDrops(on);
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#size();
  }

  set disabled(disabled) {
    this.#field.disabled = byId("attach").disabled = disabled;
    this.#size();
  }

  focus() {
    this.#field.focus();
  }

  #listenForDrops(on) {
    const area = byId("main");
    const over = (event) => {
      if (!event.dataTransfer?.types.includes("Files") || this.#field.disabled) return;
      event.preventDefault();
      area.classList.add("dropping");
    };
    on(area, "dragenter", over);
    on(area, "dragover", over);
    on(area, "dragleave", (event) => {
      if (!area.contains(event.relatedTarget)) area.classList.remove("dropping");
    });
    on(area, "drop", (event) => {
      area.classList.remove("dropping");
      if (!event.dataTransfer.files.length || this.#field.disabled) return;
      event.preventDefault();
      this.#attach(event.dataTransfer.files);
    });
  }

  #attach(files) {
    this.#actions.attach([...files]);
    this.focus();
  }

  #say() {
    const text = this.text.trim().toWellFormed(); // half a character is no JSON
    if (!text || this.#field.disabled || this.#excess(text) > 0) return;
    if (!this.#actions.say(text)) return;
    this.text = "";
    this.focus();
  }

  #size() {
    const field = this.#field;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    const excess = this.#excess(this.text.trim());
    byId("composer-hint").textContent =
      excess > 0 ? `Too long by ${excess.toLocaleString()} bytes of ${this.contentMax.toLocaleString()}` : "";
    byId("send").disabled = this.text.trim() === "" || excess > 0 || field.disabled;
  }

  #excess(text) {
    if (text.length * 6 < this.contentMax) return 0; // no character takes more
    return encoder.encode(JSON.stringify(text)).length - this.contentMax;
  }
}
