// The room server of many tutorials: `ws` for sockets, a Map of Sets for rooms, and, when REDIS_URL is set, one Redis channel per room
// with a publisher and a `duplicate()` of it that subscribes. Settings are those that the READMEs of both recommend: no compression,
// bufferutil, pipelining by the client of Redis.
import { createServer } from "node:http";
import { createClient } from "redis";
import WebSocket, { WebSocketServer } from "ws";

const rooms = new Map();

function deliver(room, message) {
  for (const client of rooms.get(room) ?? []) {
    if (client.readyState === WebSocket.OPEN) client.send(message, { binary: true });
  }
}

async function redisBus(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) {
    client.on("error", (error) => console.error(error));
    await client.connect();
  }
  return {
    publish: (room, message) => publisher.publish(room, message),
    subscribe: (room) => subscriber.subscribe(room, (message) => deliver(room, message), true),
    unsubscribe: (room) => subscriber.unsubscribe(room),
  };
}

const alone = { publish: deliver, subscribe: () => {}, unsubscribe: () => {} };
const bus = process.env.REDIS_URL ? await redisBus(process.env.REDIS_URL) : alone;

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on("connection", (socket, request) => {
  const room = request.url;
  if (!rooms.has(room)) {
    rooms.set(room, new Set());
    bus.subscribe(room);
  }
  rooms.get(room).add(socket);
  socket.on("message", (message) => bus.publish(room, message));
  socket.on("error", () => socket.terminate());
  socket.on("close", () => {
    const members = rooms.get(room);
    members.delete(socket);
    if (members.size === 0) {
      rooms.delete(room);
      bus.unsubscribe(room);
    }
  });
});

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", 4096, () => console.log(server.address().port));
