// The list: a window of rows over the timeline. It holds some hundred elements
// however long the conversation is, and never moves what is being read.

import { buildRow, layoutOf } from "/rows.js";

const ROWS_MAX = 240; // rows in the document
const ROWS_STEP = 80; // rows added at an end that comes near
const NEAR_PX = 600; // how near
const BOTTOM_PX = 48; // this close to the end, new messages scroll into view

// List calls onTop() when the start of what is known comes into reach, and
// onUnread(n) with the number of new messages below the fold (-1: none, but
// the end is out of sight).
export class List {
  #timeline;
  #scroller;
  #list;
  #handlers;
  #first = null; // the window's first item; null follows the end
  #last = null; // the window's last item; null follows the end
  #rows = new Map(); // item → {element, signature}
  #stuck = true; // the end is in sight and stays there
  #seen = 0; // the highest offset that has been in sight
  #scheduled = false;
  #closed = new AbortController();

  constructor(timeline, scroller, list, handlers) {
    this.#timeline = timeline;
    this.#scroller = scroller;
    this.#list = list;
    this.#handlers = handlers;
    const { signal } = this.#closed;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true, signal });
    const observer = new ResizeObserver(() => this.#scrollToEnd());
    observer.observe(scroller);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  // close leaves the document to another list.
  close() {
    this.#closed.abort();
    this.#list.replaceChildren();
  }

  // refresh draws what changed, once a frame. A hidden page has no frames.
  refresh() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      this.#scheduled = false;
      this.#draw();
    };
    if (document.hidden) setTimeout(draw, 100);
    else requestAnimationFrame(draw);
  }

  // toEnd shows the end and stays there.
  toEnd() {
    if (this.#last) this.#first = this.#last = null;
    this.#stuck = true;
    this.refresh();
  }

  #draw() {
    if (this.#closed.signal.aborted) return;
    const timeline = this.#timeline;
    if (this.#stuck) timeline.trim();
    const [start, end] = this.#range();
    const anchor = this.#stuck ? null : this.#anchor();
    this.#sync(start, end);
    if (anchor) this.#scroller.scrollTop += this.#topOf(anchor.item) - anchor.top;
    this.#scrollToEnd();
    this.#scrolled();
  }

  // range turns the window's items into indices: they move as others come.
  #range() {
    const items = this.#timeline.items;
    const end = this.#last ? items.lastIndexOf(this.#last) + 1 || items.length : items.length;
    let start = this.#first ? items.indexOf(this.#first) : -1;
    if (start < 0 || start >= end) start = Math.max(0, end - ROWS_STEP);
    if (this.#stuck) start = Math.max(start, end - ROWS_MAX);
    return [start, Math.min(end, start + ROWS_MAX)];
  }

  #sync(start, end) {
    const items = this.#timeline.items;
    const rows = new Map();
    for (let i = start; i < end; i++) {
      const item = items[i];
      const layout = layoutOf(items[i - 1], item, items[i + 1]);
      const signature = [
        layout.day, layout.first, layout.last, item.state, item.reason, item.offset, item.text,
        item.file?.version, item.file?.state,
      ].join();
      let row = this.#rows.get(item);
      if (row?.signature !== signature) {
        const element = buildRow(item, layout);
        row?.element.replaceWith(element);
        row = { element, signature };
      }
      rows.set(item, row);
    }
    for (const [item, row] of this.#rows) {
      if (!rows.has(item)) row.element.remove();
    }
    let next = this.#list.firstChild;
    for (const { element } of rows.values()) {
      if (element === next) next = next.nextSibling;
      else this.#list.insertBefore(element, next);
    }
    this.#rows = rows;
    this.#first = items[start] ?? null;
    this.#last = end < items.length ? items[end - 1] : null;
  }

  // anchor picks an item in sight, and remembers where it stands.
  #anchor() {
    const top = this.#scroller.getBoundingClientRect().top;
    for (const [item, { element }] of this.#rows) {
      if (element.getBoundingClientRect().bottom > top) return { item, top: this.#topOf(item) };
    }
    return null;
  }

  // topOf is where an item's text stands: what is above it in its row changes
  // with its neighbours.
  #topOf(item) {
    const row = this.#rows.get(item);
    return row ? row.element.querySelector(".bubble, .notice-text").getBoundingClientRect().top : 0;
  }

  #scrollToEnd() {
    if (this.#stuck) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const below = scrollHeight - clientHeight - scrollTop;
    this.#stuck = this.#last === null && below < BOTTOM_PX;
    if (this.#stuck) this.#seen = this.#timeline.newest;
    if (scrollTop < NEAR_PX) this.#grow(-1);
    else if (below < NEAR_PX && this.#last) this.#grow(1);
    this.#report(below);
  }

  // grow moves the window one step up or down.
  #grow(direction) {
    const items = this.#timeline.items;
    const start = this.#first ? items.indexOf(this.#first) : 0;
    if (direction < 0) {
      if (start <= 0) {
        this.#handlers.onTop();
        return;
      }
      const from = Math.max(0, start - ROWS_STEP);
      this.#first = items[from];
      if (from + ROWS_MAX < items.length && !this.#stuck) {
        const end = this.#last ? items.lastIndexOf(this.#last) : items.length - 1;
        this.#last = items[Math.min(end, from + ROWS_MAX - 1)];
      }
    } else {
      const end = Math.min(items.length, items.lastIndexOf(this.#last) + 1 + ROWS_STEP);
      this.#last = end < items.length ? items[end - 1] : null;
      this.#first = items[Math.max(start, end - ROWS_MAX)];
    }
    this.refresh();
  }

  #report(below) {
    if (this.#stuck) {
      this.#handlers.onUnread(0);
      return;
    }
    let unread = 0;
    const items = this.#timeline.items;
    for (let i = items.length - 1; i >= 0 && items[i].offset > this.#seen; i--) {
      if (items[i].kind === "message" && !items[i].own) unread++;
    }
    const far = this.#last !== null || below > this.#scroller.clientHeight;
    this.#handlers.onUnread(unread || (far ? -1 : 0));
  }
}
