// Tests of the inbox, the conversations, the members and the files, run in a
// browser by TestModules. Each entry is a test; what it throws is its failure.

return {
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

  "a deleted message is neither unread nor announced": async () => {
    const { chats, log } = await newChats();
    chats.message(direct(1, "bob", "me"));
    chats.message(direct(2, "bob", "me", { content: undefined, deleted: true }));
    chats.deleted(chats.inbox, 1);
    equal([texts(chats.direct("bob")), chats.direct("bob").unread, log.length], [Array(2).fill("This message was deleted"), 1, 1]);
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
