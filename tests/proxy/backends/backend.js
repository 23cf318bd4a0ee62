// Counts the requests that it sees, and those to /smuggled; says how many.
const http = require('http');
const [host, port] = process.argv[2].split(':');
let count = 0;
let smuggled = 0;
http.createServer((request, response) => {
  count += 1;
  if (request.url === '/smuggled') smuggled += 1;
  const seen = `${count} ${smuggled}`;
  request.resume().on('end', () => response.end(seen));
}).listen(Number(port), host);
