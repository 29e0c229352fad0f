// Tests of the page's modules, run in a browser by TestModules. Each entry is
// a test; what it throws is its failure. "connection", "room", "timeline",
// "files", "uploads", "members" and "conversations" are the modules.

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
    "onJoined", "onReset", "onPage", "onPageFailed", "onMessage", "onDraft",
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

return {
  "a silent link is probed, and given up when nothing comes": withConnection((it, browser, log) => {
    const [socket] = browser.sockets;
    equal(socket.protocol, "throng.v1.json");
    socket.open();
    browser.pass(25_000);
    socket.push({ type: "message" });
    browser.pass(29_000);
    equal(socket.sent, []);
    browser.pass(6_000);
    equal(socket.sent.map(({ type }) => type), ["PING"]);
    socket.push({ type: "PONG" });
    browser.pass(29_000);
    equal(socket.sent.length, 1);
    browser.pass(6_000);
    equal(socket.sent.length, 2);
    equal(log.at(-1), { type: "message" });
    browser.pass(10_000);
    equal([log.includes("offline"), socket.readyState], [true, 3]);
    browser.pass(1_000); // the first wait is no longer than this
    equal(browser.sockets.length, 2);
  }),

  "a dial that does not come through is given up": withConnection((it, browser, log) => {
    browser.pass(10_000);
    equal(log, ["connecting", "offline"]);
  }),

  "a try does not wait for its time when someone asks for it": withConnection((it, browser, log) => {
    browser.sockets[0].onclose({ code: 1006, reason: "" });
    it.connect();
    it.connect();
    equal([browser.sockets.length, log.at(-1)], [2, "connecting"]);
    browser.pass(9_000);
    equal(browser.sockets.length, 2);
  }),

  "a refused token ends the tries; a restart of the server does not": withConnection((it, browser, log) => {
    browser.sockets[0].open();
    browser.sockets[0].onclose({ code: 1012, reason: "" });
    equal(log.at(-1), "offline");
    browser.pass(1_000);
    browser.sockets[1].open();
    browser.sockets[1].onclose({ code: 4401, reason: "" });
    equal(log.at(-1), "closed");
    browser.pass(120_000);
    equal(browser.sockets.length, 2);
  }),

  "requests get their replies by id, and fail with the link": withConnection(async (it, browser, log) => {
    const [socket] = browser.sockets;
    socket.open();
    const replies = [it.request({ type: "a" }), it.request({ type: "b" }), it.request({ type: "c" })];
    const [a, b] = socket.sent.map(({ id }) => id);
    socket.push({ type: "error", id: b, code: "muted", reason: "no" });
    socket.push({ type: "left", id: a });
    socket.onclose({ code: 1009, reason: "" });
    const results = await Promise.allSettled(replies);
    equal(results.map(({ value, reason }) => value?.type ?? reason.name), ["left", "ServerError", "Disconnected"]);
    equal(results[2].reason.closeCode, 1009);
    equal(log, ["connecting", "open", "opened", "offline"]);
  }),

  "waits double up to the cap, and are spread over all of it": () => {
    const bounds = Array.from({ length: 8 }, (_, attempt) => connection.backoff(attempt, () => 1));
    equal(bounds, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    equal(connection.backoff(3, () => 0.5), 4000);
    equal(connection.backoff(3, () => 0), 250);
  },

  "the first join loads the newest page, and asks for no position": async () => {
    const room = newRoom();
    room.it.join();
    const join = room.fake.take("join");
    equal(join.frame, { type: "join", room: "r" });
    join.reply({ type: "joined", epoch: "e", offset: 9, recovered: false, members: 3 });
    await settled();
    const page = room.fake.take("history");
    equal([page.frame.before, page.frame.reverse], [10, true]);
    page.reply({ type: "history", messages: [message(9), message(8)], next: "c" });
    await settled();
    const [joined, loaded] = room.log;
    equal([joined[1].resumed, joined[1].missed], [false, 0]);
    equal(loaded, ["onPage", [message(8), message(9)], true, 10]);
  },

  "the position follows the stream, through messages and own acks": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.receive(message(1));
    room.it.say("mine");
    room.fake.take("message").reply({ type: "ack", offset: 2, timestamp: 1002 });
    await settled();
    room.it.receive(message(3));
    equal(await rejoin(room, 3), { epoch: "e", offset: 3, timestamp: 1003 });
  },

  "an ack that is ahead of the replay does not hide what was missed": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.receive(message(1));
    await rejoin(room, 3); // 2 and 3 are to come
    room.it.receive(message(2));
    room.it.receive(message(3));
    room.it.say("mine");
    room.fake.take("message").reply({ type: "ack", offset: 5, timestamp: 1005 });
    await settled();
    equal(await rejoin(room, 5), { epoch: "e", offset: 3, timestamp: 1003 });
    room.it.receive(message(4));
    // 5 is known by its ack: the position steps over it.
    equal(await rejoin(room, 5), { epoch: "e", offset: 5, timestamp: 1005 });
  },

  "a duplicate's ack does not move the position": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.say("mine");
    await settled();
    await rejoin(room, 0);
    room.fake.take("message").reply({ type: "ack", offset: 1, timestamp: 1001, duplicate: true });
    await settled();
    equal((await rejoin(room, 1)).offset, 0);
  },

  "what is unacknowledged goes out again, with its key, once the replay is over": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.say("first");
    room.it.say("second");
    const keys = room.fake.asked.map(({ frame }) => frame.key);
    await rejoin(room, 2);
    equal(room.fake.asked.length, 0);
    // The first one did arrive: the replay says so by its key.
    room.it.receive(message(1, "me", { key: keys[0], content: "first" }));
    equal(room.fake.asked.length, 0);
    room.it.receive(message(2));
    equal(room.fake.asked.map(({ frame }) => [frame.content, frame.key]), [["second", keys[1]]]);
    const done = room.log.filter(([name, draft]) => name === "onDraft" && draft.state === "done");
    equal(done.map(([, draft]) => [draft.text, draft.offset]), [["first", 1]]);
    equal(room.log.filter(([name]) => name === "onMessage").length, 1);
  },

  "a message is sent only once it can be, in the order of writing": async () => {
    const room = newRoom();
    room.it.say("one");
    room.it.say("two");
    equal(room.fake.asked.length, 0);
    await joinFresh(room);
    equal(room.fake.asked.map(({ frame }) => frame.content), ["one", "two"]);
  },

  "a lost epoch forgets what was shown and loads a page": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.receive(message(1));
    room.it.receive(message(2));
    await rejoin(room, 1, false, "f");
    equal(room.log.some(([name]) => name === "onReset"), true);
    room.fake.take("history").reply({ type: "history", messages: [message(1)] });
    await settled();
    room.it.receive(message(2, "cleo"));
    equal(room.log.at(-1), ["onMessage", message(2, "cleo")]);
    equal(await rejoin(room, 2, true, "f"), { epoch: "f", offset: 2, timestamp: 1002 });
  },

  "what was acknowledged last and is gone after a crash is sent again, once": async () => {
    const room = newRoom();
    await joinFresh(room);
    for (const text of ["kept", "lost"]) room.it.say(text);
    const [kept, lost] = room.fake.asked.splice(0);
    kept.reply({ type: "ack", offset: 1, timestamp: 1001 });
    lost.reply({ type: "ack", offset: 2, timestamp: 1002 });
    await settled();
    await rejoin(room, 1, false, "f");
    room.fake.take("history").reply({ type: "history", messages: [message(1, "me", { key: kept.frame.key })] });
    await settled();
    equal(room.fake.asked.map(({ frame }) => [frame.content, frame.key]), [["lost", lost.frame.key]]);
    room.fake.take("message").reply({ type: "ack", offset: 2, timestamp: 2002 });
    await settled();
    await rejoin(room, 2, true, "f");
    equal(room.fake.asked, []);
  },

  "an ack ahead of the position, and a new epoch: the page tells what is true": async () => {
    const room = newRoom();
    await joinFresh(room);
    await rejoin(room, 2); // 1 and 2 are to come
    room.it.receive(message(1));
    room.it.receive(message(2));
    room.it.say("mine");
    room.fake.take("message").reply({ type: "ack", offset: 4, timestamp: 1004 });
    await settled();
    await rejoin(room, 3, true, "f");
    room.fake.take("history").reply({ type: "history", messages: [message(3), message(2), message(1)] });
    await settled();
    equal(room.fake.asked.map(({ frame }) => frame.content), ["mine"]);
    room.it.receive(message(4, "cleo"));
    equal(room.log.at(-1), ["onMessage", message(4, "cleo")]);
  },

  "a gap moves the position past what is gone": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.receive(message(1));
    room.it.receive({ type: "gap", room: "r", epoch: "e", after: 1, next: 5 });
    equal(room.log.at(-1), ["onNotice", "3 messages are no longer in the history"]);
    equal((await rejoin(room, 4)).offset, 4);
  },

  "errors: what may be retried waits, the rest fails with the reason": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.say("a");
    room.it.say("b");
    const [a, b] = room.fake.asked.splice(0);
    a.fail(new connection.ServerError({ code: "overloaded", reason: "busy", retry: true, retryAfter: 1 }));
    b.fail(new connection.ServerError({ code: "muted", reason: "muted", retry: false }));
    await settled();
    const states = room.log.filter(([name]) => name === "onDraft").slice(-2);
    equal(states.map(([, draft]) => [draft.text, draft.state, draft.reason]), [["a", "waiting", "busy"], ["b", "failed", "muted"]]);
    while (room.fake.asked.length === 0) await settled();
    equal(room.fake.take("message").frame.key, a.frame.key);
    room.it.retry(b.frame.key);
    const again = room.fake.take("message").frame;
    equal([again.content, again.key === b.frame.key], ["b", false]);
  },

  "a message that closes the link is not sent again by itself": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.say("poison");
    room.it.disconnected();
    room.fake.take("message").fail(new connection.Disconnected(1009));
    await settled();
    equal(room.log.at(-1)[1].state, "failed");
    await rejoin(room, 0);
    equal(room.fake.asked.length, 0);
  },

  "a message of another room, or one that was seen, is passed over": async () => {
    const room = newRoom();
    await joinFresh(room, 4);
    const before = room.log.length;
    room.it.receive(message(5, "bob", { to: "other" }));
    room.it.receive(message(4));
    equal(room.log.length, before);
  },

  "the timeline keeps offsets in order, once each, with drafts at the end": () => {
    const it = new timeline.Timeline();
    it.draft({ key: "k", text: "draft", state: "waiting", reason: "", createdAt: 1 }, "me");
    for (const offset of [5, 3, 4, 3, 1]) it.add(message(offset), false);
    it.notice("after 5");
    it.notice("after 3", 3);
    const shown = () => it.items.map((item) => (item.kind === "notice" ? item.text : item.offset));
    equal(it.items.map((item) => item.text), ["m1", "m3", "after 3", "m4", "m5", "after 5", "draft"]);
    equal(it.newest, 5);
    it.draft({ key: "k", text: "draft", state: "done", reason: "", offset: 6, timestamp: 9 }, "me");
    equal(shown(), [1, 3, "after 3", 4, 5, "after 5", 6]);
    it.forget();
    equal(it.items.length, 0);
  },

  "any content has a text": () => {
    equal(
      ["a", { text: "b" }, { n: 1 }, null, 7].map((content) => timeline.textOf({ content })),
      ["a", "b", '{"n":1}', "null", "7"],
    );
    equal(timeline.textOf({ content: "AAECAw==", encoding: "base64" }), "4 bytes");
  },

  "what was seen is acknowledged, once, and an inbox has what went to others": async () => {
    const fake = new FakeConnection();
    const seen = [];
    const inbox = new room.Room(fake, "user:me", {
      onJoined: () => {}, onPage: () => {}, onMessage: ({ offset }) => seen.push(offset),
    });
    inbox.receive(direct(1, "bob", "me")); // before the join: its page will have it
    inbox.join();
    fake.take("join").reply({ type: "joined", epoch: "e", offset: 1, recovered: false, members: 1 });
    await settled();
    fake.take("history").reply({ type: "history", messages: [direct(1, "bob", "me")] });
    await settled();
    inbox.receive(direct(2, "bob", "me"));
    inbox.receive(direct(3, "me", "bob"));
    inbox.receive(message(9));
    equal(seen, [2, 3]);
    while (fake.sent.length === 0) await settled();
    equal(fake.sent, [{ type: "ack", room: "user:me", epoch: "e", offset: 3 }]);
    inbox.disconnected();
  },

  "direct messages are told apart by who the other one is": async () => {
    const { chats, log } = await newChats();
    chats.page(chats.inbox, [direct(1, "bob", "me"), direct(2, "me", "cleo"), direct(3, "me", "me")], true, 4);
    chats.message(direct(4, "bob", "me"));
    chats.message(message(1, "bob"));
    equal(chats.list.map(({ address }) => address), ["r", "user:bob", "user:me", "user:cleo"]);
    equal(["bob", "cleo", "me"].map((peer) => texts(chats.direct(peer))), [["d1", "d4"], ["d2"], ["d3"]]);
    equal(log, [["user:bob", "bob", "d4"], ["r", "bob", "m1"]]);
    equal(chats.list.map(({ unread }) => unread), [1, 2, 0, 0]);
    chats.show(chats.direct("bob"));
    equal([chats.unread, chats.shown.unread], [1, 0]);
    // What was read stays so for the next page.
    const next = (await newChats()).chats;
    localStorage.setItem("throng.marks.me", JSON.stringify({ read: [["bob", "id4"]] }));
    next.message(direct(4, "bob", "me"));
    next.message(direct(5, "bob", "me"));
    equal(next.direct("bob").unread, 1);
    localStorage.removeItem("throng.marks.me");
  },

  "older pages of an inbox belong to all its conversations": async () => {
    const { chats } = await newChats();
    chats.page(chats.inbox, [direct(8, "bob", "me"), direct(9, "cleo", "me")], true, 10);
    const [bob, cleo] = ["bob", "cleo"].map((peer) => chats.direct(peer));
    chats.page(chats.inbox, [direct(6, "dan", "me"), direct(7, "bob", "me")], true, 8);
    equal([bob, cleo, chats.direct("dan")].map(({ timeline }) => timeline.coverage.reach), [6, 6, 6]);
    cleo.timeline.coverage.reach = 9; // as if trimmed
    chats.page(chats.inbox, [direct(1, "bob", "me")], false, 6);
    equal([bob, cleo].map(({ timeline }) => [timeline.coverage.reach, timeline.coverage.more]), [[1, false], [9, true]]);
    equal(texts(bob), ["d1", "d7", "d8"]);
  },

  "a receipt marks everything up to it, now and after a reload": async () => {
    const { chats } = await newChats();
    for (const offset of [1, 2, 3]) chats.message(direct(offset, "me", "bob"));
    chats.delivered({ to: "user:bob", msgId: "id2" });
    const states = (it) => it.direct("bob").timeline.items.map(({ state }) => state);
    equal(states(chats), ["delivered", "delivered", "done"]);
    const next = new conversations.Conversations("me", { onChange: () => {} });
    next.setRoom("r", null);
    for (const offset of [1, 2, 3]) next.message(direct(offset, "me", "bob"));
    equal(states(next), ["delivered", "delivered", "done"]);
    localStorage.removeItem("throng.marks.me");
  },

  "a notice of typing ends with the message": async () => {
    const { chats } = await newChats();
    chats.message(direct(1, "bob", "me"));
    const bob = chats.direct("bob");
    chats.transient({ from: "bob", to: "user:me", content: { typing: true } });
    chats.transient({ from: "cleo", to: "r", content: { typing: true } });
    equal([bob.typists, chats.room.typists], [["bob"], ["cleo"]]);
    chats.message(direct(2, "bob", "me"));
    equal([bob.typists, chats.room.typists], [[], ["cleo"]]);
    chats.close();
  },

  "members follow the events, up to where they name people": async () => {
    const fake = new FakeConnection();
    const it = new members.Members("r", (frame) => fake.request(frame), () => {});
    const list = () => [...it.statuses].map(([user, status]) => `${user} ${status}`);
    const page = async (entries, next) => {
      fake.take("members").reply({ members: entries.map(([userId, status]) => ({ userId, status })), next });
      await settled();
    };
    it.joined({ members: 2, host: "ana", maxUsers: 0 });
    await page([["ana", "busy"], ["cleo", "online"]]);
    it.changed(3, "bob", null);
    it.setStatus("bob", "away");
    it.setStatus("bob", "dancing");
    it.setStatus("nobody", "busy");
    equal(list(), ["ana busy", "bob away", "cleo online"]);
    it.changed(2, null, "cleo");
    equal([list(), it.count, it.live], [["ana busy", "bob away"], 2, true]);
    it.changed(1500, null, null);
    equal([it.live, fake.asked.length], [false, 0]);
    it.refresh();
    await page([["a", "online"]], "cursor");
    equal([it.more, list()], [true, ["a online"]]);
    it.loadMore();
    equal(fake.asked[0].frame.cursor, "cursor");
    await page([["b", "online"]]);
    equal([it.more, list()], [false, ["a online", "b online"]]);
    it.changed(199, null, null); // few enough again
    await page([["a", "away"]]);
    equal(list(), ["a away"]);
    it.refresh();
    it.changed(200, "zoe", null); // while the list is on its way: it is asked for again
    await page([["a", "away"]]);
    await page([["a", "away"], ["zoe", "online"]]);
    equal(list(), ["a away", "zoe online"]);
    it.lost();
  },

  "a piece fits into the frame, and comes back as it was": () => {
    const limits = { message: 65536, frame: 73728 };
    const size = files.pieceSizeOf(limits);
    const bytes = Uint8Array.from({ length: size }, (_, i) => i * 7);
    const content = files.encodePiece(ID, 77, bytes);
    const to = "user:" + '"'.repeat(123);
    const frame = JSON.stringify({ type: "message", to, content, encoding: "base64", key: `${ID}.8191`, id: "123456789" });
    if (frame.length > limits.frame) throw new Error(`${frame.length} bytes in a frame of ${limits.frame}`);
    const decoded = files.decodePiece({ content, encoding: "base64" });
    equal([decoded.id, decoded.index], [ID, 77]);
    equal(decoded.data().every((byte, i) => byte === bytes[i]) && decoded.data().length, size);
    equal(files.pieceSizeOf({ message: 1000, frame: 73728 }), 976);
  },

  "what is no file of this format is left alone": () => {
    for (const content of ["AAECAw==", "", btoa("x".repeat(200)), files.encodePiece(ID, 0, new Uint8Array())]) {
      equal(files.decodePiece({ content, encoding: "base64" }), null);
    }
    const bad = [
      { id: "short" }, { id: 7 }, { name: "" }, { name: "x".repeat(256) }, { name: 5 }, { size: 0 }, { size: 1.5 },
      { size: files.FILE_MAX + 1 }, { pieces: 0 }, { pieces: 8193 }, { pieces: "1" },
    ];
    for (const more of bad) equal(files.manifestOf(manifest(1, 1, more)), null);
    for (const content of [null, "text", 7, [], { file: null }, { file: "x" }, { file: [] }]) equal(files.manifestOf({ content }), null);
    equal(files.manifestOf({ content: "AAAA", encoding: "base64" }), null);
    equal(files.manifestOf(manifest(1, 1, { width: -1, height: "x", type: 9 })).width, 0);
  },

  "pieces make the file in any order, with repeats, and before the manifest": async () => {
    const it = new files.Files(() => {});
    equal([it.take(piece(2, 5), true), it.take(piece(0, 1, 2), true), it.take(piece(0, 1, 2), true)], [true, true, true]);
    const transfer = it.take(manifest(3, 5), true);
    equal([transfer.state, transfer.got], ["receiving", 2]);
    it.take({ ...piece(1, 9, 9), from: "eve" }, true); // another's piece is of another file
    equal(transfer.got, 2);
    it.take(piece(1, 3, 4), true);
    equal([transfer.state, transfer.got], ["done", 3]);
    const state = it.take(manifest(3, 5), false);
    equal(state === transfer && state.state, "done");
    it.close();
    equal(transfer.url, "");
  },

  "pieces that do not fit make a broken file, and hold nothing": () => {
    for (const pieces of [[piece(0, 1, 2, 3)], [piece(0, 1), piece(2, 3)], [piece(5, 1)], [piece(0), piece(1, 1)]]) {
      const it = new files.Files(() => {});
      const transfer = it.take(manifest(2, 2), true);
      for (const one of pieces) it.take(one, true);
      if (transfer.state === "done") throw new Error("a file was made");
      it.close();
    }
    const it = new files.Files(() => {});
    const transfer = it.take(manifest(1, 2), true);
    it.take(piece(0, 1, 2, 3), true);
    equal([transfer.state, transfer.got], ["broken", 0]);
    it.take(piece(0, 1, 2), true);
    equal(transfer.state, "broken");
  },

  "a transfer that stopped is incomplete, until the history has the rest": async () => {
    const it = new files.Files(() => {});
    const transfer = it.take({ ...manifest(2, 2), timestamp: 1 }, false);
    it.take({ ...piece(0, 1), timestamp: 2 }, false);
    equal([transfer.state, transfer.got], ["incomplete", 1]);
    await it.load(transfer, async (visit) => {
      equal(transfer.state, "receiving");
      equal([visit(piece(0, 1)), visit(message(7)), visit(piece(1, 2))], [false, false, true]);
    });
    equal(transfer.state, "done");
    it.close();
  },

  "files past the bound make room, and can be loaded again": async () => {
    const it = new files.Files(() => {});
    const blob = new Blob([new Uint8Array(files.FILE_MAX)]);
    const own = Array.from({ length: 17 }, (_, i) =>
      it.own("me", { ...manifest(1, files.FILE_MAX).content.file, id: String(i).padStart(32, "0") }, blob));
    equal(own.map(({ state }) => state).filter((state) => state !== "done"), ["dropped"]);
    equal(own[0].state, "dropped");
    const small = it.take(manifest(1, 2), true);
    it.take(piece(0, 1, 2), true);
    equal([own[1].state, small.state], ["dropped", "done"]);
    it.close();
  },

  "an upload has few pieces under way, and ends when all have arrived": async () => {
    const { it, fake } = newUploadRoom();
    const held = new files.Files(() => {});
    const up = new uploads.Uploads(held);
    it.uploads = up;
    up.limits = { message: 65536, frame: 73728 };
    await joinFresh({ it: it.room, fake });
    const size = files.pieceSizeOf(up.limits);
    const blob = new Blob([Uint8Array.from({ length: 6 * size - 5 }, (_, i) => i)]);
    await up.send("me", { stream: it.room, address: "r" }, blob, "six");
    const keys = () => fake.asked.map(({ frame }) => frame.key.split(".")[1] ?? "manifest");
    equal(keys(), ["manifest"]);
    const id = fake.asked[0].frame.key;
    // The link breaks; what had no ack goes again, under its own key.
    fake.take("message").reply({ type: "ack", offset: 1, timestamp: 1, msgId: "a" });
    await settled();
    equal(keys(), ["0", "1", "2", "3"]);
    fake.take("message").reply({ type: "ack", offset: 2, timestamp: 2, msgId: "b" });
    await settled();
    equal(keys(), ["1", "2", "3", "4"]);
    await rejoin({ it: it.room, fake }, 2);
    equal(keys(), ["1", "2", "3", "4"]);
    const bytes = [];
    for (let offset = 3; fake.asked.length; offset++) {
      const { frame, reply } = fake.take("message");
      bytes.push([frame.key, files.decodePiece(frame).data().length]);
      reply({ type: "ack", offset, timestamp: offset, msgId: `m${offset}` });
      await settled();
    }
    equal(bytes, [1, 2, 3, 4, 5].map((i) => [`${id}.${i}`, i === 5 ? size - 5 : size]));
    equal(it.transfers.at(-1).state, "done");
    held.close();
  },

  "an upload that is refused says why, and goes on when asked": async () => {
    const { it, fake } = newUploadRoom();
    const held = new files.Files(() => {});
    const up = new uploads.Uploads(held);
    it.uploads = up;
    up.limits = { message: 65536, frame: 73728 };
    await joinFresh({ it: it.room, fake });
    await up.send("me", { stream: it.room, address: "r" }, new Blob(["abc"]), "abc");
    const transfer = it.transfers.at(-1);
    const muted = () => new connection.ServerError({ code: "muted", reason: "you are muted", retry: false });
    const first = fake.take("message");
    first.fail(muted());
    await settled();
    equal([transfer.state, transfer.upload.reason], ["failed", "you are muted"]);
    up.retry(transfer);
    equal([transfer.state, fake.asked[0].frame.key], ["sending", first.frame.key]);
    fake.take("message").reply({ type: "ack", offset: 1, timestamp: 1, msgId: "a" });
    await settled();
    const second = fake.take("message");
    second.fail(muted());
    await settled();
    equal(transfer.state, "failed");
    up.retry(transfer);
    equal(fake.asked.map(({ frame }) => frame.key), [second.frame.key]);
    up.cancel(transfer);
    equal(transfer.state, "cancelled");
    let complaint = "";
    try {
      await up.send("me", { stream: it.room, address: "r" }, new Blob([]), "nothing");
    } catch (error) {
      complaint = error.message;
    }
    equal(complaint, "nothing is empty");
    held.close();
  },
};
