// Rows: the elements of the timeline. Text from people only ever becomes text
// nodes.

import { action, element, icon } from "/elements.js";
import { fileBody } from "/filerow.js";

const GROUP_MS = 5 * 60_000; // messages of one author this close together stand together
const HUES = 10;

const timeFormat = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const yearFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

const LINK = /https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}]/g;

// layoutOf says how an item stands between its neighbours: under a new day,
// first or last of its author's group.
export function layoutOf(previous, item, next) {
  const day = !previous || dayOf(previous) !== dayOf(item);
  return {
    day,
    first: day || !together(previous, item),
    last: !next || dayOf(next) !== dayOf(item) || !together(item, next),
  };
}

// buildRow makes the element of one item.
export function buildRow(item, layout) {
  const row = element("li", "row");
  if (layout.day) row.append(dayLine(item.time));
  if (item.kind === "notice") {
    row.classList.add("notice");
    row.append(element("p", "notice-text", item.text));
    return row;
  }
  row.classList.add("message", item.own ? "own" : "other");
  row.classList.toggle("first", layout.first);
  row.classList.toggle("last", layout.last);
  row.classList.toggle("deleted", item.deleted === true);
  row.dataset.from = item.from;
  row.dataset.state = item.state;
  if (item.offset < Infinity) row.dataset.offset = item.offset;
  const line = element("div", "line");
  if (!item.own) line.append(avatar(item.from, layout.last));
  const stack = element("div", "stack");
  if (layout.first) stack.append(author(item));
  stack.append(bubble(item));
  if (item.state === "failed" && !item.file) stack.append(failure(item));
  else if (item.state === "waiting" && item.reason) stack.append(element("p", "trouble", item.reason));
  line.append(stack);
  row.append(line);
  return row;
}

function dayOf(item) {
  return new Date(item.time).setHours(0, 0, 0, 0);
}

function together(a, b) {
  return (
    a.kind === "message" && b.kind === "message" && a.from === b.from && a.own === b.own && b.time - a.time < GROUP_MS
  );
}

function dayLine(time) {
  const line = element("div", "day");
  line.append(element("span", "", dayName(time)));
  return line;
}

function dayName(time) {
  const date = new Date(time);
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.round((midnight - date.setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const format = date.getFullYear() === new Date().getFullYear() ? dayFormat : yearFormat;
  return format.format(date);
}

// avatar makes the circle that stands for a user.
export function avatar(name, shown = true) {
  if (!shown) return element("span", "avatar");
  const letter = Array.from(name)[0] ?? "?";
  const circle = element("span", `avatar filled hue-${hueOf(name)}`, letter.toUpperCase());
  circle.setAttribute("aria-hidden", "true");
  return circle;
}

function author(item) {
  if (item.own) return element("span", "unseen", "You");
  const button = action("direct", item.from, item.from);
  button.className = `author hue-${hueOf(item.from)}`;
  button.title = `Write to ${item.from}`;
  return button;
}

function bubble(item) {
  const box = element("div", "bubble");
  const body = item.file ? fileBody(item.file) : element("span", "text");
  if (!item.file) {
    body.dir = "auto";
    appendText(body, item.text);
  }
  const stamp = element("span", "stamp");
  const time = element("time", "", timeFormat.format(item.time));
  time.dateTime = new Date(item.time).toISOString();
  time.title = fullFormat.format(item.time);
  stamp.append(time);
  if (item.own) stamp.append(tick(item.state));
  box.append(body, stamp);
  return box;
}

const TICKS = {
  waiting: ["Not sent yet", "M12 7v5.2l3.4 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z"],
  sent: ["Sending", "M12 7v5.2l3.4 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z"],
  failed: ["Not sent", "M12 7.5v5.5m0 3.2v.1M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z"],
  done: ["Sent", "M5 12.5l4.6 4.6L19.5 7"],
  delivered: ["Delivered", "M1.5 12.5l4.6 4.6L16 7M11.4 16.4l.7.7L22 7"],
};

function tick(state) {
  const [label, outline] = TICKS[state];
  const svg = icon(outline, "tick");
  svg.removeAttribute("aria-hidden");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return svg;
}

function failure(item) {
  const line = element("p", "trouble");
  line.append(element("span", "", `Not sent: ${item.reason}`));
  line.append(action("retry", "Send again", item.key), action("discard", "Discard", item.key));
  return line;
}

function appendText(parent, text) {
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    parent.append(text.slice(from, match.index));
    const link = element("a", "", match[0]);
    link.href = match[0];
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    parent.append(link);
    from = match.index + match[0].length;
  }
  parent.append(text.slice(from));
}

function hueOf(name) {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
  return (hash >>> 8) % HUES;
}
