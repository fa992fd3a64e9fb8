// An agent with keep-alive and at most twelve sockets asks an upstream; four
// stay free between the bursts.
'use strict';
const http = require('http');
const corpus = require('../lib/corpus.js');

const agent = new http.Agent({ keepAlive: true, maxSockets: 12, maxFreeSockets: 4 });
let number = 0;

function burst(port) {
  number += 1;
  const count = number % 8 === 0 ? 30 : 2;
  for (let i = 0; i < count; i += 1) {
    http.get({ host: '127.0.0.1', port, path: '/quick', agent }, (response) => response.resume());
  }
}

corpus.peer('http_upstream.js').then((port) => corpus.begin(3, () => burst(port)));
