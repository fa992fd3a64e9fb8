// An HTTP upstream in a process of its own. It answers /quick at once, streams
// /slow for ever, never answers /never, and hangs up after the answer to /close.
// Prints its port.
'use strict';
const http = require('http');

const server = http.createServer((request, response) => {
  if (request.url.startsWith('/slow')) {
    const timer = setInterval(() => response.write('tick\n'), 200);
    response.on('close', () => clearInterval(timer));
    return;
  }
  if (request.url.startsWith('/never')) return;
  if (request.url.startsWith('/close')) response.setHeader('Connection', 'close');
  response.end('quick\n');
});
server.keepAliveTimeout = 600000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
