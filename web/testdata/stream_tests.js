// Tests of the connection, the room's stream and the timeline, run in a browser
// by TestModules. Each entry is a test; what it throws is its failure.

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

  "a deleted message loses its content, wherever it comes from": () => {
    const it = new timeline.Timeline();
    it.add(message(1), false, { name: "cat.png" });
    it.draft({ key: "k", text: "mine", state: "done", reason: "", offset: 2, timestamp: 9 }, "me");
    it.add(message(3, "bob", { content: undefined, deleted: true }), false);
    equal([it.retract(1), it.retract(9)], [true, false]);
    equal(it.add(message(2, "me", { content: undefined, deleted: true }), true), null);
    const gone = "This message was deleted";
    equal(it.items.map(({ offset, text, file, deleted }) => [offset, text, file, deleted]), [1, 2, 3].map((n) => [n, gone, null, true]));
  },

  "a deletion is told, also of a message that is one's own and unacknowledged": async () => {
    const room = newRoom();
    await joinFresh(room);
    room.it.say("mine");
    const key = room.fake.take("message").frame.key;
    room.it.receive(message(1));
    room.it.receive({ type: "deleted", room: "r", offset: 1, msgId: "id1", userId: "host" });
    room.it.receive(message(2, "me", { key, content: undefined, deleted: true }));
    const told = room.log.filter(([name]) => name === "onMessage" || name === "onDeleted");
    equal(told.map(([name, what]) => [name, what.offset ?? what]), [["onMessage", 1], ["onDeleted", 1], ["onDeleted", 2]]);
  },

  "any content has a text": () => {
    equal(
      ["a", { text: "b" }, { n: 1 }, null, 7].map((content) => timeline.textOf({ content })),
      ["a", "b", '{"n":1}', "null", "7"],
    );
    equal(timeline.textOf({ content: "AAECAw==", encoding: "base64" }), "4 bytes");
  },
};
