// Node's http server with keep-alive: thirty clients keep their connections and
// ask now and then; others ask once and go.
'use strict';
const http = require('http');
const corpus = require('../lib/corpus.js');

const server = http.createServer((request, response) => response.end(`hello ${request.url}\n`));
server.keepAliveTimeout = 20000;
server.on('connection', (socket) => {
  corpus.hold('connection', 1);
  socket.on('close', () => corpus.hold('connection', -1));
});
server.listen(0, '127.0.0.1', async () => {
  await corpus.peer('keep_alive_clients.js', server.address().port, 30);
  await corpus.peer('http_client.js', server.address().port, 10, '/quick', 0);
  corpus.begin(1, () => {});
});
