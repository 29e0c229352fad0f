// Uploads: files on their way out, one at a time, a few pieces under way at
// once. The outbox sends a piece again after a break; its key says which one it
// is, so that none counts twice.

import { encodePiece, FILE_MAX, pieceSizeOf, sizeOf } from "/files.js";
import { randomHex } from "/outbox.js";

const WINDOW = 4; // pieces under way at once
const QUEUE_MAX = 20; // files that wait
const PIECE_MIN = 256; // bytes; with smaller ones no file is worth its messages

// An Upload is a file that this page sends. Its state is "sending", "failed"
// (with the reason), "cancelled" or "done".
class Upload {
  state = "sending";
  reason = "";
  transfer;
  room;
  to;
  bytes;
  pieceSize;
  next = 0; // the piece to send next
  pieces = new Map(); // index → its draft
  manifest = null; // the manifest's draft

  constructor(room, to, bytes, pieceSize) {
    Object.assign(this, { room, to, bytes, pieceSize });
  }

  get drafts() {
    return this.manifest ? [this.manifest, ...this.pieces.values()] : [...this.pieces.values()];
  }

  // sent is how many pieces have arrived.
  get sent() {
    if (this.state === "done") return this.transfer.pieces;
    let sent = 0;
    for (const draft of this.pieces?.values() ?? []) if (draft.state === "done") sent++;
    return sent;
  }
}

export class Uploads {
  limits = { message: 0, frame: 0 }; // as the server told them with the session
  #files;
  #queue = []; // the first is being sent

  constructor(files) {
    this.#files = files;
  }

  // send sends a file to a conversation. It throws an Error with a text for
  // people where it cannot.
  async send(user, { stream, address }, blob, name = blob.name) {
    if (blob.size === 0) throw new Error(`${name} is empty`);
    if (blob.size > FILE_MAX) throw new Error(`${name} is larger than ${FILE_MAX >> 20} MiB, the most that goes through here`);
    if (this.#queue.length >= QUEUE_MAX) throw new Error(`${name} was not taken: ${QUEUE_MAX} files are on their way`);
    const pieceSize = pieceSizeOf(this.limits);
    if (pieceSize < PIECE_MIN) throw new Error("this server's limits are too small for files");
    let bytes, size;
    try {
      bytes = new Uint8Array(await blob.arrayBuffer());
      size = await dimensionsOf(blob);
    } catch {
      throw new Error(`${name} cannot be read`);
    }
    const manifest = {
      id: randomHex(),
      name: name.toWellFormed().slice(0, 200).toWellFormed(),
      type: blob.type.slice(0, 100),
      size: bytes.length,
      pieces: Math.ceil(bytes.length / pieceSize),
      ...size,
    };
    const upload = new Upload(stream, address, bytes, pieceSize);
    const transfer = this.#files.own(user, manifest, blob);
    upload.transfer = transfer;
    transfer.upload = upload;
    const text = `${manifest.name} (${sizeOf(manifest.size)})`;
    upload.manifest = stream.send({
      to: address, key: manifest.id, content: { text, file: manifest }, text: manifest.name, file: transfer,
    });
    if (!upload.manifest) throw new Error("too many messages are waiting for the server");
    this.#queue.push(upload);
    this.#pump();
  }

  // onDraft follows the messages of the uploads through their states.
  onDraft(draft) {
    const upload = draft.piece ?? draft.file.upload;
    if (!upload || (upload.state !== "sending" && upload.state !== "failed")) return;
    if (draft.state === "failed") {
      Object.assign(upload, { state: "failed", reason: draft.reason });
      this.#queue = this.#queue.filter((other) => other !== upload);
    } else if (upload.state === "sending" && upload.sent === upload.transfer.pieces) {
      upload.state = "done";
      upload.bytes = upload.pieces = null;
      this.#queue = this.#queue.filter((other) => other !== upload);
    }
    this.#files.changed(upload.transfer);
    if (draft.state === "failed" || draft.state === "done") this.#pump();
  }

  // retry goes on with a failed upload.
  retry({ upload }) {
    if (upload?.state !== "failed") return;
    Object.assign(upload, { state: "sending", reason: "" });
    this.#queue.push(upload);
    for (const draft of upload.drafts) upload.room.retry(draft.key);
    this.#files.changed(upload.transfer);
    this.#pump();
  }

  // cancel ends an upload. What has arrived stays, and is shown as incomplete.
  cancel({ upload }) {
    if (upload?.state !== "sending" && upload?.state !== "failed") return;
    const { drafts } = upload;
    Object.assign(upload, { state: "cancelled", bytes: null, pieces: null });
    this.#queue = this.#queue.filter((other) => other !== upload);
    for (const draft of drafts) upload.room.discard(draft.key);
    this.#files.changed(upload.transfer);
    this.#pump();
  }

  #pump() {
    const [upload] = this.#queue;
    if (!upload) return;
    const { transfer, manifest, bytes, pieceSize, pieces, room, to } = upload;
    if (manifest.state !== "done") return; // whoever reads the history from there finds all pieces
    while (upload.next < transfer.pieces && upload.next - upload.sent < WINDOW) {
      const index = upload.next++;
      const data = bytes.subarray(index * pieceSize, (index + 1) * pieceSize);
      const draft = room.send({
        to,
        key: `${transfer.id}.${index}`,
        content: encodePiece(transfer.id, index, data),
        encoding: "base64",
        text: "",
        piece: upload,
      });
      pieces.set(index, draft);
    }
  }
}

// dimensionsOf returns the width and height of a picture, which keep its place
// before it is there; {} of anything else.
async function dimensionsOf(blob) {
  if (!blob.type.startsWith("image/")) return {};
  try {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    bitmap.close();
    return { width, height };
  } catch {
    return {}; // no picture that this browser knows
  }
}
