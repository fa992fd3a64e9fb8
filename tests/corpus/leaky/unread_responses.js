// check() asks an upstream for its status. A status that is not good is noted,
// and the response is never read: its socket stays for ever.
'use strict';
const http = require('http');
const corpus = require('../lib/corpus.js');

const kept = [];

function check(port, bad) {
  http.get({ host: '127.0.0.1', port, path: bad ? '/slow' : '/close', agent: false }, (response) => {
    if (bad) {
      response.pause();
      kept.push(response);
      corpus.hold('check', 1);
      return;
    }
    response.resume();
  });
}

corpus.peer('http_upstream.js').then((port) => corpus.begin(10, () => check(port, corpus.oneIn(5))));
