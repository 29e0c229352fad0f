// File rows: how a transfer stands in its message, from the announcement to
// the picture or the link.

import { action, element, icon } from "/elements.js";
import { sizeOf } from "/files.js";

const PICTURE_WIDTH = 340; // px at the most
const PICTURE_HEIGHT = 320;
const PAGE_OUTLINE = "M13.5 3.5H7A1.5 1.5 0 0 0 5.5 5v14A1.5 1.5 0 0 0 7 20.5h10a1.5 1.5 0 0 0 1.5-1.5V8.5zM13.5 3.5v5h5";

// fileBody makes what a message shows of its file.
export function fileBody(transfer) {
  const body = element("div", "file");
  body.dataset.transfer = transfer.state;
  if (transfer.picture && transfer.url) body.append(picture(transfer));
  const card = element("div", "file-card");
  if (!transfer.picture || !transfer.url) card.append(icon(PAGE_OUTLINE, "file-icon"));
  const lines = element("div", "file-lines");
  const part = partOf(transfer);
  lines.append(title(transfer));
  if (part !== null) lines.append(bar(part, transfer));
  lines.append(note(transfer));
  card.append(lines);
  body.append(card);
  return body;
}

function title(transfer) {
  const link = element(transfer.url ? "a" : "span", "text", transfer.name);
  link.dir = "auto";
  if (transfer.url) {
    link.href = transfer.url;
    link.download = transfer.name;
    link.title = `Save ${transfer.name}`;
  }
  return link;
}

function picture(transfer) {
  const link = element("a", "picture");
  link.href = transfer.url;
  link.target = "_blank";
  const image = element("img");
  image.alt = transfer.name;
  if (transfer.width) {
    const scale = Math.min(1, PICTURE_WIDTH / transfer.width, PICTURE_HEIGHT / transfer.height);
    image.width = Math.max(24, Math.round(transfer.width * scale));
    image.height = Math.max(24, Math.round(transfer.height * scale));
  }
  image.addEventListener("error", () => link.remove(), { once: true }); // no picture, but a file still
  image.src = transfer.url;
  link.append(image);
  return link;
}

// partOf is how much of a transfer is done, from 0 to 1, or null where nothing
// is under way.
function partOf({ state, upload, got, pieces }) {
  if (state === "sending") return upload.sent / pieces;
  return state === "receiving" ? got / pieces : null;
}

function bar(part, transfer) {
  const progress = element("progress");
  progress.max = 1;
  progress.value = part;
  progress.setAttribute("aria-label", transfer.name);
  return progress;
}

function note(transfer) {
  const { id, size, got, pieces, upload } = transfer;
  const percent = `${Math.floor((partOf(transfer) ?? 0) * 100)}% of ${sizeOf(size)}`;
  const line = element("p", "file-note");
  switch (transfer.state) {
    case "done":
      line.append(sizeOf(size));
      break;
    case "sending":
      line.append(`Sending, ${percent} `, action("cancelFile", "Cancel", id));
      break;
    case "failed":
      line.append(`Not sent: ${upload.reason} `, action("retryFile", "Send again", id), " ", action("cancelFile", "Discard", id));
      break;
    case "cancelled":
      line.append("Cancelled");
      break;
    case "receiving":
      line.append(`Receiving, ${percent}`);
      break;
    case "incomplete":
      line.append(`Incomplete: ${got} of ${pieces} pieces came `, action("loadFile", "Look again", id));
      break;
    case "dropped":
      line.append(`${sizeOf(size)}, no longer in this page's memory `, action("loadFile", "Load again", id));
      break;
    case "broken":
      line.append("Broken: what came is not what was announced");
      break;
  }
  return line;
}
