// Published: http-proxy 1.18.1 on Node 15.5 or newer does not see that a client
// has hung up, and keeps the upstream's connection (http-party/node-http-proxy,
// pull requests 1559 and 1580; issue 1582).
'use strict';
const http = require('http');
const corpus = require('../lib/corpus.js');
const httpProxy = require('http-proxy');

async function main() {
  const upstream = await corpus.peer('http_upstream.js');
  const proxy = httpProxy.createProxyServer({ target: `http://127.0.0.1:${upstream}` });
  proxy.on('error', (error, request, response) => response.destroy());
  proxy.on('proxyReq', ({ socket }) => {
    corpus.hold('proxied', 1);
    socket.on('close', () => corpus.hold('proxied', -1));
  });
  const server = http.createServer((request, response) => proxy.web(request, response));
  server.listen(0, '127.0.0.1', async () => {
    await corpus.peer('http_client.js', server.address().port, 10, '/close,/slow', 5);
    corpus.begin(1, () => {});
  });
}

main();
