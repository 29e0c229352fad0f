// The panel: the conversations, who is in the room, and one's own status. It
// stands beside the messages on wide screens, and is a drawer on narrow ones.

import { byId, element } from "/elements.js";
import { STATUSES } from "/members.js";
import { avatar } from "/rows.js";

// Panel takes what the user does as actions: open(conversation),
// person(user), status(status).
export class Panel {
  #chats;
  #members;
  #actions;
  #scheduled = false;
  #narrow = matchMedia("(max-width: 52rem)"); // as in panel.css
  #listeners = new AbortController();

  constructor(chats, members, actions) {
    this.#chats = chats;
    this.#members = members;
    this.#actions = actions;
    const { signal } = this.#listeners;
    const on = (id, type, handler) => byId(id).addEventListener(type, handler, { signal });
    on("drawer", "click", () => this.#toggle(true));
    on("drawer-close", "click", () => this.#toggle(false));
    on("scrim", "click", () => this.#toggle(false));
    on("panel", "keydown", ({ key }) => {
      if (key === "Escape") this.#toggle(false);
    });
    on("conversations", "click", ({ target }) => {
      const address = target.closest("button")?.dataset.address;
      const found = chats.list.find((conversation) => conversation.address === address);
      if (found) this.#leaveFor(() => actions.open(found));
    });
    on("people", "click", ({ target }) => {
      const user = target.closest("button")?.dataset.user;
      if (user !== undefined) this.#leaveFor(() => actions.person(user));
    });
    on("people-more", "click", () => members.loadMore());
    on("people-refresh", "click", () => members.refresh());
    on("status", "change", ({ target }) => actions.status(target.value));
    byId("status").value = "online";
    this.#narrow.addEventListener("change", () => this.#toggle(false), { signal });
    this.refresh();
  }

  close() {
    this.#listeners.abort();
    this.#toggle(false);
  }

  // refresh draws what changed, once a frame. A hidden page has no frames.
  refresh() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      this.#scheduled = false;
      if (!this.#listeners.signal.aborted) this.#draw();
    };
    if (document.hidden) setTimeout(draw, 100);
    else requestAnimationFrame(draw);
  }

  #draw() {
    const { user, room, list, unread, shown } = this.#chats;
    byId("me").replaceChildren(avatar(user), element("span", "name", user));
    byId("status").value = this.#members.statuses.get(user) ?? byId("status").value; // other devices set it, too
    sync(byId("conversations"), list, ({ address }) => address, (one) => this.#conversation(one));
    const elsewhere = unread - shown.unread;
    const badge = byId("drawer-unread");
    badge.hidden = elsewhere <= 0;
    badge.textContent = shorten(elsewhere);
    byId("drawer").setAttribute("aria-label", elsewhere > 0 ? `Conversations and people, ${elsewhere} unread` : "Conversations and people");
    byId("people-title").textContent = `In ${room.address}`;
    this.#drawPeople();
  }

  #drawPeople() {
    const { statuses, count, live, more, loading, host } = this.#members;
    byId("people-count").textContent = count ? count.toLocaleString() : "";
    sync(byId("people"), [...statuses], ([user]) => user, ([user, status]) => this.#person(user, status, host));
    byId("people-more").hidden = !more;
    byId("people-more").disabled = byId("people-refresh").disabled = loading;
    byId("people-refresh").hidden = live;
    const listed = statuses.size.toLocaleString();
    byId("people-hint").textContent = live ? "" : `${listed} of them, as they were when this list was loaded.`;
  }

  #conversation(conversation) {
    const { address, peer, unread } = conversation;
    const { user, shown } = this.#chats;
    const name = peer === null ? address : peer === user ? "Notes to yourself" : peer;
    const signature = `${name} ${unread} ${conversation === shown} ${peer !== null && this.#members.statuses.get(peer)}`;
    return [signature, () => {
      const button = element("button", "entry");
      button.type = "button";
      button.dataset.address = address;
      if (conversation === shown) button.setAttribute("aria-current", "true");
      button.append(peer === null ? element("span", "avatar hash", "#") : this.#face(peer), element("span", "name", name));
      if (unread > 0) {
        const badge = element("span", "badge", shorten(unread));
        badge.setAttribute("aria-label", `${unread} unread`);
        button.append(badge);
      }
      return button;
    }];
  }

  #person(user, status, host) {
    const own = user === this.#chats.user;
    return [`${status} ${user === host} ${own}`, () => {
      const button = element("button", "entry");
      button.type = "button";
      button.dataset.user = user;
      const notes = [own && "you", user === host && "host", status !== "online" && STATUSES[status]].filter(Boolean);
      button.append(this.#face(user), element("span", "name", user));
      if (notes.length) button.append(element("span", "aside", notes.join(", ").toLowerCase()));
      return button;
    }];
  }

  #face(user) {
    const face = element("span", "face");
    face.append(avatar(user));
    const status = this.#members.statuses.get(user);
    if (status) face.append(element("span", `presence-dot ${status}`));
    return face;
  }

  // The open drawer is all that there is; beside the messages it is always open.
  #toggle(open) {
    byId("main").inert = open;
    byId("chat").classList.toggle("drawer-open", open);
    byId("drawer").setAttribute("aria-expanded", String(open));
    if (open) byId("drawer-close").focus();
    else if (byId("panel").contains(document.activeElement)) byId("drawer").focus();
  }

  #leaveFor(act) {
    this.#toggle(false);
    act();
  }
}

// sync makes a list show the items, in their order. build returns an item's
// signature, and what makes its element; the element stays while the signature
// does.
function sync(list, items, keyOf, build) {
  const rows = new Map(Array.from(list.children, (row) => [row.dataset.key, row]));
  let next = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const [signature, make] = build(item);
    let row = rows.get(key);
    rows.delete(key);
    if (!row) {
      row = element("li");
      row.dataset.key = key;
    }
    if (row.dataset.signature !== signature) {
      const focused = row.contains(document.activeElement);
      row.dataset.signature = signature;
      row.replaceChildren(make());
      if (focused) row.firstElementChild.focus();
    }
    if (row === next) next = next.nextElementSibling;
    else list.insertBefore(row, next);
  }
  for (const row of rows.values()) row.remove();
}

function shorten(count) {
  return count > 99 ? "99+" : String(count);
}
