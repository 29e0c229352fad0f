// Room servers over ws and socket.io: what bench/peers says, for node.
//
//   node [--expose-gc] server.js ws|socket.io [--listen 127.0.0.1:PORT] [--collect]

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server as SocketIO } from "socket.io";
import { WebSocketServer, Sender } from "ws";

const maxMessage = 16 << 20;

const { values, positionals } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:8000" },
    collect: { type: "boolean", default: false }, // garbage, every two seconds; with node --expose-gc
  },
  allowPositionals: true,
});

const peers = { ws: serveWS, "socket.io": serveSocketIO };
const [name] = positionals;
if (positionals.length !== 1 || !Object.hasOwn(peers, name)) {
  console.error(`usage: node server.js ${Object.keys(peers).join("|")} [--listen 127.0.0.1:PORT]`);
  process.exit(64);
}
const colon = values.listen.lastIndexOf(":");
const host = values.listen.slice(0, colon);
if (host !== "127.0.0.1" && host !== "localhost") {
  console.error(`${values.listen} is not on the loopback: these servers are for nobody else`);
  process.exit(1);
}

if (values.collect) {
  setInterval(globalThis.gc, 2000);
}

const server = createServer((_, response) => response.writeHead(404).end());
server.keepAliveTimeout = 0;
peers[name](server);
server.listen({ host, port: Number(values.listen.slice(colon + 1)), backlog: 4096 }, () => {
  console.log(`${name} is ready: http://127.0.0.1:${server.address().port}/`);
});

// serveWS frames a message once and writes the same bytes to the socket of each
// member, which is what the library's author advises for broadcasts without
// compression. Of several messages that one read brings, the writes to a member
// are held back until the read is done, and leave together.
function serveWS(server) {
  const wss = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    skipUTF8Validation: true,
    maxPayload: maxMessage,
  });
  const rooms = new Map();
  server.on("upgrade", (request, socket, head) => {
    const url = new URL(request.url, "http://localhost");
    const room = url.searchParams.get("room");
    if (url.pathname !== "/echo" && !(url.pathname === "/floor" && room)) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
      return;
    }
    wss.handleUpgrade(request, socket, head, url.pathname === "/echo" ? echo : join(rooms, room, socket));
  });
}

function echo(ws) {
  ws.on("error", () => {}); // close follows
  ws.on("message", (data, binary) => ws.send(data, { binary }));
}

// join keeps nothing of the request.
function join(rooms, room, socket) {
  let members = rooms.get(room);
  if (members === undefined) {
    members = new Set();
    rooms.set(room, members);
  }
  return (ws) => {
    members.add(socket);
    ws.on("error", () => {});
    ws.on("message", (data, binary) => toRoom(members, data, binary));
    ws.on("close", () => members.delete(socket));
  };
}

// corked are the sockets that wait for the end of the turn.
const corked = new Set();

function toRoom(members, data, binary) {
  const frame = Buffer.concat(
    Sender.frame(data, { fin: true, rsv1: false, opcode: binary ? 2 : 1, mask: false, readOnly: true }),
  );
  if (corked.size === 0) {
    process.nextTick(uncork);
  }
  for (const socket of members) {
    if (!corked.has(socket)) {
      corked.add(socket);
      socket.cork();
    }
    socket.write(frame);
  }
}

function uncork() {
  for (const socket of corked) {
    socket.uncork();
  }
  corked.clear();
}

// serveSocketIO has clients name their room as they connect. Messages are framed
// once for a room by the library itself; transports but the WebSocket, and
// compression, are off, and the upgrade's request, which the library keeps for
// each connection, is dropped, as its page on memory advises.
function serveSocketIO(server) {
  const io = new SocketIO(server, {
    transports: ["websocket"],
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    maxHttpBufferSize: maxMessage,
    pingInterval: 24 * 3600 * 1000, // without heartbeats, as the others
  });
  io.engine.on("connection", (raw) => {
    raw.request = null;
  });
  io.on("connection", (socket) => {
    const { room } = socket.handshake.auth;
    if (room) {
      socket.join(room);
    }
    socket.on("message", (message) => io.to(room).emit("message", message));
    socket.on("echo", (content) => socket.emit("echo", content));
  });
}
