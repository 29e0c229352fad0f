// What the tests of the page's modules share: their checks, and what stands in
// for the server and the browser. "connection", "room", "timeline", "files",
// "uploads", "members" and "conversations" are the modules.

const equal = (got, want) => {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`got ${a}, want ${b}`);
};

// settled lets everything run that waits for promises alone.
const settled = () => new Promise((resolve) => setTimeout(resolve));

// A connection whose other end is the test.
class FakeConnection {
  asked = []; // {frame, reply, fail} of the requests without an answer
  sent = [];
  request(frame) {
    return new Promise((resolve, reject) => {
      this.asked.push({ frame, reply: resolve, fail: reject });
    });
  }
  send(frame) {
    this.sent.push(frame);
    return true;
  }
  take(type) {
    const index = this.asked.findIndex(({ frame }) => frame.type === type);
    if (index < 0) throw new Error(`no ${type} was asked for`);
    return this.asked.splice(index, 1)[0];
  }
}

function newRoom() {
  const fake = new FakeConnection();
  const log = [];
  const told = (name) => (...args) => log.push([name, ...structuredClone(args)]);
  const handlers = {};
  for (const name of [
    "onJoined", "onReset", "onPage", "onPageFailed", "onMessage", "onDeleted", "onDraft",
    "onTransient", "onMembers", "onUpdated", "onNotice", "onRefused", "onClosed",
  ]) handlers[name] = told(name);
  const it = new room.Room(fake, "r", handlers);
  it.setLimits({});
  return { it, fake, log };
}

// A room whose drafts of files go to uploads, as the page has it.
function newUploadRoom() {
  const fake = new FakeConnection();
  const it = { uploads: null, transfers: [] };
  it.room = new room.Room(fake, "r", {
    onJoined: () => {}, onPage: () => {}, onMessage: () => {}, onReset: () => {},
    onDraft: (draft) => {
      if (draft.file) it.transfers.push(draft.file);
      it.uploads.onDraft(draft);
    },
  });
  it.room.setLimits({});
  return { it, fake };
}

const message = (offset, from = "bob", more = {}) => ({
  type: "message", to: "r", from, offset, timestamp: 1000 + offset, content: `m${offset}`, ...more,
});

// joinFresh joins an empty or known room for the first time.
async function joinFresh({ it, fake }, offset = 0) {
  it.join();
  fake.take("join").reply({ type: "joined", epoch: "e", offset, recovered: false, members: 1 });
  await settled();
  fake.take("history").reply({ type: "history", messages: [] });
  await settled();
}

// rejoin breaks the link, joins again and returns the position that was sent.
async function rejoin({ it, fake }, offset, recovered = true, epoch = "e") {
  it.disconnected();
  for (const asked of fake.asked.splice(0)) asked.fail(new connection.Disconnected(1006));
  await settled();
  it.join();
  const join = fake.take("join");
  join.reply({ type: "joined", epoch, offset, recovered, members: 1 });
  await settled();
  return join.frame.since;
}

// Conversations of "me" in the room "r" with an inbox that has been joined.
async function newChats() {
  localStorage.removeItem("throng.marks.me");
  const log = [];
  const chats = new conversations.Conversations("me", {
    onChange: () => {},
    onIncoming: ({ address }, from, text) => log.push([address, from, text]),
    onNotice: () => {},
  });
  const fake = new FakeConnection();
  const stream = (name) => {
    const it = new room.Room(fake, name, {
      onJoined: (joined) => chats.joined(it, joined),
      onReset: () => chats.reset(it),
      onPage: (messages, more, before) => chats.page(it, messages, more, before),
      onPageFailed: (reason) => chats.pageFailed(it, reason),
      onMessage: (message) => chats.message(message),
      onDraft: (draft) => chats.draft(draft),
      onTransient: (message) => chats.transient(message),
    });
    return it;
  };
  chats.setRoom("r", stream("r"));
  chats.inbox = stream("user:me");
  return { chats, fake, log };
}

const direct = (offset, from, to, more = {}) => ({
  type: "message", to: `user:${to}`, from, offset, timestamp: 1000 + offset, content: `d${offset}`, msgId: `id${offset}`, ...more,
});

const texts = ({ timeline }) => timeline.items.map(({ text }) => text);

// The messages of a file, as another user sends it.
const ID = "00112233445566778899aabbccddeeff";
const manifest = (pieces, size, more = {}) =>
  message(1, "bob", { timestamp: Date.now(), content: { file: { id: ID, name: "f", type: "", size, pieces, ...more } } });
const piece = (index, ...bytes) =>
  message(2 + index, "bob", { timestamp: Date.now(), encoding: "base64", content: files.encodePiece(ID, index, new Uint8Array(bytes)) });

// A browser of which the test holds the clock and the sockets.
function newBrowser() {
  const real = { WebSocket: globalThis.WebSocket, setTimeout: globalThis.setTimeout, now: performance.now };
  let now = 0;
  let timers = [];
  const it = {
    sockets: [],
    // pass lets time go by, and timers fire at their times.
    pass(ms) {
      for (const end = now + ms; ; ) {
        timers.sort((a, b) => a.at - b.at);
        if (!timers.length || timers[0].at > end) {
          now = end;
          return;
        }
        const timer = timers.shift();
        now = timer.at;
        timer.run();
      }
    },
    restore() {
      globalThis.WebSocket = real.WebSocket;
      globalThis.setTimeout = real.setTimeout;
      globalThis.clearTimeout = real.clearTimeout;
      performance.now = real.now;
    },
  };
  real.clearTimeout = globalThis.clearTimeout;
  globalThis.WebSocket = class {
    static OPEN = 1;
    readyState = 0;
    sent = [];
    constructor(url, protocol) {
      this.protocol = protocol;
      it.sockets.push(this);
    }
    open() {
      this.readyState = 1;
      this.onopen();
    }
    push(frame) {
      this.onmessage({ data: JSON.stringify(frame) });
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.readyState = 3;
    }
  };
  globalThis.setTimeout = (run, ms) => {
    const timer = { run, at: now + ms };
    timers.push(timer);
    return timer;
  };
  globalThis.clearTimeout = (timer) => {
    timers = timers.filter((other) => other !== timer);
  };
  performance.now = () => now;
  return it;
}

// withConnection runs a test on a connection in such a browser.
const withConnection = (test) => async () => {
  const browser = newBrowser();
  try {
    const log = [];
    const it = new connection.Connection("ws://test/ws", {
      onOpen: () => log.push("opened"),
      onFrame: (frame) => log.push(frame),
      onState: (state) => log.push(state.name),
    });
    it.connect();
    await test(it, browser, log);
  } finally {
    browser.restore();
  }
};
