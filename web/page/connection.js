// The connection: one WebSocket to the server, kept alive. It dials, notices a
// dead link, waits and dials again, and matches replies with requests. It knows
// frames, but nothing of rooms or of the page.

const SUBPROTOCOL = "throng.v1.json";

const BACKOFF_FIRST_MS = 1_000; // the bound of the first wait; it doubles…
const BACKOFF_CAP_MS = 30_000; // …up to this
const BACKOFF_FLOOR_MS = 250; // no wait is shorter
const STABLE_MS = 10_000; // a link that lasted this long starts over with the first wait
const DIAL_TIMEOUT_MS = 10_000;
const SILENCE_MS = 30_000; // after this much silence the link is probed with a PING…
const PROBE_MS = 10_000; // …and given up when nothing comes for this long

// What the server closes with when another try would end the same way. All
// other codes, and links that just break, are tried again.
const CLOSED_FOR_GOOD = new Map([
  [1008, "the server refused this connection"],
  [4401, "the token is not valid"],
  [4402, "the token has expired"],
  [4403, "the login has been ended"],
  [4405, "an administrator has closed the connection"],
]);

// backoff returns how long to wait before a try, in ms: a random time up to a
// bound that doubles with each try ("full jitter"), so that the clients of a
// restarted server do not come back in step.
export function backoff(attempt, random = Math.random) {
  const bound = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  return Math.max(BACKOFF_FLOOR_MS, Math.round(random() * bound));
}

// ServerError is an error frame: a code to act on and a reason for people.
export class ServerError extends Error {
  constructor(frame) {
    super(frame.reason || frame.code);
    this.name = "ServerError";
    this.code = frame.code;
    this.retry = frame.retry === true;
    this.retryAfter = frame.retryAfter || 0;
  }
}

// Disconnected is what a request gets whose reply can no longer come. Whether
// the server acted on it is not known.
export class Disconnected extends Error {
  constructor(closeCode) {
    super("the connection was lost");
    this.name = "Disconnected";
    this.closeCode = closeCode;
  }
}

// Connection calls three handlers:
//
//   onOpen()        a fresh link stands: authenticate, join
//   onFrame(frame)  a frame that answers no request
//   onState(state)  {name: "connecting" | "open"}, {name: "offline", retryAt}
//                   with the time of the next try, or {name: "closed", code,
//                   reason} when there will be none
export class Connection {
  #url;
  #handlers;
  #socket = null;
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;
  #probedAt = 0;
  #timer = 0; // the next try while offline, the watch while there is a socket
  #nextId = 1;
  #requests = new Map(); // id → {resolve, reject}
  #lastError = null;

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
  }

  // connect dials now, whatever wait is left. It does nothing while a link
  // stands or is being dialled.
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#lastError = null;
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#timer = setTimeout(() => this.#lost(1006, ""), DIAL_TIMEOUT_MS);
    this.#handlers.onState({ name: "connecting" });
  }

  // close ends the connection for good.
  close() {
    clearTimeout(this.#timer);
    this.#release(1000);
    this.#failRequests(1000);
  }

  // request sends a frame under an id of its own. The promise has the reply,
  // or fails with ServerError or Disconnected.
  request(frame) {
    return new Promise((resolve, reject) => {
      const id = String(this.#nextId++);
      if (!this.send({ ...frame, id })) {
        reject(new Disconnected(1006));
        return;
      }
      this.#requests.set(id, { resolve, reject });
    });
  }

  // send reports whether the frame was handed to an open socket.
  send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#openedAt = this.#heardAt = performance.now();
    this.#watch();
    this.#handlers.onState({ name: "open" });
    this.#handlers.onOpen();
  }

  #received(data) {
    this.#heardAt = performance.now();
    this.#probedAt = 0;
    const frame = JSON.parse(data);
    const request = this.#requests.get(frame.id);
    if (request) {
      this.#requests.delete(frame.id);
      if (frame.type === "error") request.reject(new ServerError(frame));
      else request.resolve(frame);
      return;
    }
    if (frame.type === "error") this.#lastError = frame;
    if (frame.type !== "PONG") this.#handlers.onFrame(frame);
  }

  // watch notices a link that died without a word. Browsers answer the
  // server's pings themselves and show them to nobody, so silence alone proves
  // nothing: it is probed first.
  #watch() {
    const now = performance.now();
    if (this.#probedAt && now - this.#probedAt >= PROBE_MS) {
      this.#lost(1006, "");
      return;
    }
    if (!this.#probedAt && now - this.#heardAt >= SILENCE_MS) {
      this.#probedAt = now;
      this.send({ type: "PING", timestamp: Date.now() });
    }
    this.#timer = setTimeout(() => this.#watch(), PROBE_MS / 2);
  }

  #lost(code, reason) {
    clearTimeout(this.#timer);
    this.#release();
    const lasted = this.#openedAt && performance.now() - this.#openedAt;
    if (lasted >= STABLE_MS) this.#attempt = 0;
    this.#openedAt = this.#probedAt = 0;
    const error = this.#lastError;
    if (CLOSED_FOR_GOOD.has(code)) {
      this.#failRequests(code);
      this.#handlers.onState({
        name: "closed",
        code,
        reason: error?.reason || reason || CLOSED_FOR_GOOD.get(code),
      });
      return;
    }
    const wait = backoff(this.#attempt++);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#handlers.onState({ name: "offline", retryAt: Date.now() + wait });
    this.#failRequests(code);
  }

  // release lets go of the socket at once. A dead one takes its time to
  // report its own close, which concerns nobody any more.
  #release(code) {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #failRequests(code) {
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const request of requests) request.reject(new Disconnected(code));
  }
}
