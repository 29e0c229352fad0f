// Files in messages. A file is a manifest, which is a message that announces
// it, and pieces, which are messages of bytes. This page is the format's only
// author; others may read it. Whatever comes in is checked, counted and bounded.
//
//   manifest  content {"text": "cat.png (1.2 MB)", "file": {"id", "name",
//             "type", "size", "pieces", "width", "height"}}: id is 32 hex digits,
//             size in bytes, width and height those of a picture
//   piece     bytes: "tfp1", the id (16), the piece's index from 0 (4, big
//             endian), and that part of the file

export const FILE_MAX = 8 << 20; // bytes of one file
const NAME_MAX = 255; // characters
const PIECES_MAX = 8192;
const HELD_MAX = 128 << 20; // bytes of all files in memory; past it the one untouched for longest goes
const TRANSFERS_MAX = 4_000;
const STALL_MS = 30_000; // a transfer of which nothing came for this long has stopped

const MAGIC = "tfp1";
const HEADER = 24; // bytes; 32 characters of base64
const ENVELOPE = 1024; // bytes of a frame around a piece, at the most

// Shown as pictures. Whatever else is for saving, under a type that no browser
// renders: it would run with this page's rights.
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);

// pieceSizeOf returns how many bytes of a file go into one message, at most 0
// where the limits are too small for any: base64 makes four bytes of three, and
// the frame bounds those.
export function pieceSizeOf(limits) {
  const bytes = Math.floor((limits.frame - ENVELOPE) / 4) * 3;
  return Math.min(limits.message, bytes) - HEADER;
}

// encodePiece returns a piece's content, as base64.
export function encodePiece(id, index, data) {
  const bytes = new Uint8Array(HEADER + data.length);
  for (let i = 0; i < 4; i++) bytes[i] = MAGIC.charCodeAt(i);
  for (let i = 0; i < 16; i++) bytes[4 + i] = parseInt(id.slice(2 * i, 2 * i + 2), 16);
  new DataView(bytes.buffer).setUint32(20, index);
  bytes.set(data, HEADER);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// decodePiece returns {id, index, data} of a message, or null where it is no
// piece. data() decodes the file's part.
export function decodePiece({ content, encoding }) {
  if (encoding !== "base64" || content.length <= 32) return null;
  const header = bytesOf(content.slice(0, 32));
  if (String.fromCharCode(...header.subarray(0, 4)) !== MAGIC) return null;
  return {
    id: Array.from(header.subarray(4, 20), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    index: new DataView(header.buffer).getUint32(20),
    data: () => bytesOf(content.slice(32)),
  };
}

// manifestOf returns what a message says of a file, or null where it announces
// none that this page would take.
export function manifestOf({ content, encoding }) {
  const file = encoding === undefined && content?.file;
  if (!file || typeof file !== "object") return null;
  const whole = (value, max) => Number.isInteger(value) && value > 0 && value <= max;
  if (!/^[0-9a-f]{32}$/.test(file.id) || !whole(file.size, FILE_MAX) || !whole(file.pieces, PIECES_MAX)) return null;
  if (typeof file.name !== "string" || !file.name || file.name.length > NAME_MAX) return null;
  const sized = whole(file.width, 65_535) && whole(file.height, 65_535);
  return {
    id: file.id,
    name: file.name,
    type: typeof file.type === "string" ? file.type : "",
    size: file.size,
    pieces: file.pieces,
    width: sized ? file.width : 0,
    height: sized ? file.height : 0,
  };
}

// A Transfer is one file, from one user, as far as it is here.
export class Transfer {
  from;
  id;
  name = ""; // of these, nothing is known before the manifest has come
  type = "";
  size = 0;
  pieces = 0;
  width = 0;
  height = 0;

  url = ""; // of the whole file
  upload = null; // while, and after, this page sends it
  got = 0; // pieces
  version = 0; // rises with each change
  heardAt = 0; // when the last of it came
  broken = false; // what came does not fit the manifest
  dropped = false; // it was whole or in part here, and made room
  loading = false; // the history is searched for its pieces

  constructor(from, id) {
    this.from = from;
    this.id = id;
  }

  // state is "done", "sending", "failed" (with upload.reason), "cancelled",
  // "receiving", "broken", "dropped", or "incomplete": nothing comes any more.
  get state() {
    if (this.upload && this.upload.state !== "done") return this.upload.state;
    if (this.url) return "done";
    if (this.broken) return "broken";
    if (this.loading) return "receiving";
    if (this.dropped) return "dropped";
    return Date.now() - this.heardAt < STALL_MS ? "receiving" : "incomplete";
  }

  get picture() {
    return PICTURES.has(this.type);
  }
}

// Files holds the transfers of all conversations, and calls onChange() when
// one of them changed.
export class Files {
  #onChange;
  #transfers = new Map(); // from and id → {transfer, parts, bytes, timer}, the longest untouched first
  #held = 0;

  constructor(onChange) {
    this.#onChange = onChange;
  }

  // close lets go of everything.
  close() {
    for (const entry of this.#transfers.values()) this.#release(entry);
    this.#transfers.clear();
  }

  // take looks for a file in a stored message. It returns the transfer that the
  // message announces; true where it is a piece, which is then taken; and null
  // where it is something else.
  take(message, live) {
    const heardAt = live ? Date.now() : message.timestamp;
    const piece = decodePiece(message);
    if (piece) {
      if (piece.index < PIECES_MAX) this.#piece(this.#entry(message.from, piece.id), piece, heardAt);
      return true;
    }
    const manifest = manifestOf(message);
    if (!manifest) return null;
    const entry = this.#entry(message.from, manifest.id);
    if (!entry.transfer.pieces) Object.assign(entry.transfer, manifest);
    this.#heard(entry, heardAt);
    this.#complete(entry);
    return entry.transfer;
  }

  // own makes the transfer of a file that this page sends, and has.
  own(from, manifest, blob) {
    const entry = this.#entry(from, manifest.id);
    Object.assign(entry.transfer, manifest);
    this.#whole(entry, blob);
    return entry.transfer;
  }

  // load looks for a transfer's pieces again. scan(visit) reads the history
  // from the manifest on.
  async load(transfer, scan) {
    if (transfer.loading) return;
    const entry = this.#entry(transfer.from, transfer.id, transfer);
    if (entry.transfer !== transfer) { // pieces came after it had made room
      this.#release(entry);
      entry.transfer = transfer;
    }
    transfer.loading = true;
    this.changed(transfer);
    try {
      await scan((message) => {
        if (decodePiece(message)) this.take(message, false);
        return transfer.url !== "" || transfer.broken;
      });
    } finally {
      transfer.loading = false;
      this.changed(transfer);
    }
  }

  // changed tells that a transfer is to be shown anew.
  changed(transfer) {
    transfer.version++;
    this.#onChange();
  }

  #entry(from, id, transfer = new Transfer(from, id)) {
    const key = `${id}/${from}`;
    const entry = this.#transfers.get(key) ?? { transfer, parts: [], bytes: 0, timer: 0 };
    this.#transfers.delete(key);
    this.#transfers.set(key, entry); // the last to go
    if (this.#transfers.size > TRANSFERS_MAX) this.#dropOldest();
    return entry;
  }

  #piece(entry, { index, data }, heardAt) {
    const { transfer, parts } = entry;
    if (transfer.url || transfer.broken || parts[index]) return;
    const bytes = data();
    parts[index] = bytes;
    entry.bytes += bytes.length;
    transfer.got++;
    this.#hold(bytes.length);
    this.#heard(entry, heardAt);
    this.#complete(entry);
  }

  #heard(entry, heardAt) {
    const { transfer } = entry;
    transfer.heardAt = Math.max(transfer.heardAt, heardAt);
    clearTimeout(entry.timer);
    const left = transfer.heardAt + STALL_MS - Date.now();
    if (left > 0 && !transfer.url) entry.timer = setTimeout(() => this.changed(transfer), left + 1);
    this.changed(transfer);
  }

  // complete makes a file of the pieces, once all are there.
  #complete(entry) {
    const { transfer, parts } = entry;
    if (transfer.url || transfer.broken) return;
    const limit = transfer.pieces ? transfer.size : FILE_MAX;
    const excess = entry.bytes > limit || (transfer.pieces && parts.length > transfer.pieces);
    const all = transfer.pieces > 0 && transfer.got === transfer.pieces;
    if (excess || (all && entry.bytes !== transfer.size)) {
      this.#release(entry);
      transfer.broken = true;
      this.changed(transfer);
    } else if (all) {
      this.#whole(entry, new Blob(parts));
    }
  }

  #whole(entry, blob) {
    const { transfer } = entry;
    this.#release(entry);
    const type = transfer.picture ? transfer.type : "application/octet-stream";
    transfer.url = URL.createObjectURL(blob.slice(0, blob.size, type));
    transfer.got = transfer.pieces;
    transfer.dropped = false;
    entry.bytes = blob.size;
    this.#hold(blob.size);
    this.changed(transfer);
  }

  #hold(bytes) {
    this.#held += bytes;
    while (this.#held > HELD_MAX && this.#transfers.size > 1) this.#dropOldest();
  }

  #dropOldest() {
    const [[key, entry]] = this.#transfers;
    this.#transfers.delete(key);
    this.#release(entry);
    entry.transfer.dropped = true;
    this.changed(entry.transfer);
  }

  // release lets go of what an entry holds in memory.
  #release(entry) {
    const { transfer } = entry;
    clearTimeout(entry.timer);
    if (transfer.url) URL.revokeObjectURL(transfer.url);
    this.#held -= entry.bytes;
    Object.assign(entry, { parts: [], bytes: 0 });
    Object.assign(transfer, { url: "", got: 0 });
  }
}

// sizeOf writes a number of bytes for people.
export function sizeOf(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, divisor] = bytes < 1_000_000 ? ["kB", 1000] : ["MB", 1_000_000];
  return `${(bytes / divisor).toLocaleString(undefined, { maximumFractionDigits: 1 })} ${unit}`;
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
