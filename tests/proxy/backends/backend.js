// Counts the requests that it sees, and says how many.
const http = require('http');
const [host, port] = process.argv[2].split(':');
let count = 0;
http.createServer((request, response) => {
  count += 1;
  const seen = count;
  request.resume().on('end', () => response.end(String(seen)));
}).listen(Number(port), host);
