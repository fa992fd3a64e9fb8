// A small node service: parses the URL, builds an object, answers JSON.
'use strict';
const http = require('http');

function items(start) {
  return Array.from({ length: 10 }, (_, i) => ({ id: start + i, name: `item ${i}`, tags: ['a', 'b'] }));
}

http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const body = JSON.stringify({ path: url.pathname, items: items(Number(url.searchParams.get('from') || 0)) });
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}).listen(Number(process.argv[2]), '127.0.0.1');
