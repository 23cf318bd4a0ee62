// A WebSocket server of ws. Says its address, and then how each connection ends; does what messages ask for, else echoes.
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 8 << 20,
  perMessageDeflate: true,
  handleProtocols: (offered) => offered.has('chat.v2') && 'chat.v2',
});

server.on('listening', () => console.log(`127.0.0.1:${server.address().port}`));

server.on('connection', (socket) => {
  socket.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
  // Its cause is in the close that follows.
  socket.on('error', () => {});
  socket.on('pong', (data) => socket.send(`pong ${data}`));
  socket.on('message', (data, isBinary) => {
    const text = isBinary || data.length > 100 ? '' : String(data);
    const [word, argument] = text.split(' ');
    switch (word) {
      case 'close': return socket.close(Number(argument), 'as you like');
      case 'die': return socket.terminate();
      case 'ping': return socket.ping(argument);
      default: return socket.send(data, { binary: isBinary });
    }
  });
});

process.stdin.on('end', () => process.exit()).resume();
