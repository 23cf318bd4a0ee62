// WebSockets by ws: URL CASE..., one line of JSON for what each came to.
const { WebSocket } = require('ws');
const { once } = require('events');

const [url, ...names] = process.argv.slice(2);

async function open(options = {}, protocols = []) {
  const socket = new WebSocket(url, protocols, { rejectUnauthorized: false, servername: 'a.example.org', ...options });
  // Its cause is in the close that follows.
  socket.on('error', () => {});
  await once(socket, 'open');
  return socket;
}

/// What the next message is.
async function heard(socket) {
  const [data, isBinary] = await once(socket, 'message');
  return { data, isBinary };
}

async function echoes(socket, data) {
  socket.send(data);
  const { data: echoed, isBinary } = await heard(socket);
  const wasBinary = typeof data !== 'string';
  return isBinary === wasBinary && echoed.equals(Buffer.from(data)) ? echoed.length : 'other bytes';
}

async function closed(socket) {
  const [code, reason] = await once(socket, 'close');
  return [code, String(reason)];
}

// Nothing that could be compressed.
function noise(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = 1; at < length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

const SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 5 << 20];

async function sizes(options) {
  const socket = await open(options);
  const echoed = [];
  for (const size of SIZES) {
    echoed.push(await echoes(socket, noise(size)), await echoes(socket, 'é'.repeat(size / 2)));
  }
  socket.close();
  return { extensions: socket.extensions, echoed, closed: await closed(socket) };
}

const CASES = {
  plain: () => sizes({ perMessageDeflate: false }),
  compressed: () => sizes({ perMessageDeflate: { threshold: 0 } }),

  // With control frames between the parts, as RFC 6455, 5.4 allows.
  async fragments() {
    const socket = await open();
    const pongs = [];
    socket.on('pong', (data) => pongs.push(String(data)));
    const message = heard(socket);
    for (let part = 0; part < 100; part += 1) {
      socket.send(noise(1000), { fin: part === 99, binary: true });
      if (part % 10 === 5) socket.ping(`between ${part}`);
    }
    const { data } = await message;
    socket.close(1000);
    return { length: data.length, pongs, closed: await closed(socket) };
  },

  async pings() {
    const socket = await open();
    socket.ping('x'.repeat(125));
    const [pong] = await once(socket, 'pong');
    socket.send('ping there');
    const [ping] = await once(socket, 'ping');
    const { data } = await heard(socket);
    socket.close(1000);
    return { pong: String(pong), ping: String(ping), data: String(data), closed: await closed(socket) };
  },

  async protocol() {
    const socket = await open({}, ['chat.v1', 'chat.v2']);
    socket.close(4321, 'enough');
    return { protocol: socket.protocol, closed: await closed(socket) };
  },

  async closes() {
    const ends = [];
    for (const code of [1000, 1001, 1011, 3000, 4999]) {
      const socket = await open();
      socket.send(`close ${code}`);
      ends.push(await closed(socket));
    }
    return { ends };
  },

  // The server dies without a word.
  async dies() {
    const socket = await open();
    socket.send('die');
    return { closed: await closed(socket) };
  },

  // And the client.
  async leaves() {
    const socket = await open();
    socket.terminate();
    return { closed: await closed(socket) };
  },

  // What may not be said is refused by the server, whose words arrive.
  async refused() {
    const ends = [];
    const tooLong = await open();
    tooLong.send(Buffer.alloc((8 << 20) + 1));
    ends.push(await closed(tooLong));
    const noText = await open({ perMessageDeflate: false });
    noText._sender.sendFrame([Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff])]);
    ends.push(await closed(noText));
    const reserved = await open({ perMessageDeflate: false });
    reserved._sender.sendFrame([Buffer.from([0x83, 0x80, 0, 0, 0, 0])]);
    ends.push(await closed(reserved));
    return { ends };
  },

  async together() {
    const each = async () => {
      const socket = await open();
      let echoed = 0;
      for (let turn = 0; turn < 10; turn += 1) echoed += await echoes(socket, noise(1000));
      socket.close(1000);
      await closed(socket);
      return echoed;
    };
    const all = await Promise.all(Array.from({ length: 100 }, each));
    return { echoed: all.reduce((sum, one) => sum + one, 0) };
  },
};

(async () => {
  for (const name of names) console.log(JSON.stringify(await CASES[name]()));
})();
