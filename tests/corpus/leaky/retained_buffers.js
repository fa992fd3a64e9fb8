// Each upload adds a closure to a list of "listeners", and the closure keeps the
// upload's buffer, outside the JavaScript heap.
'use strict';
const corpus = require('../lib/corpus.js');

const listeners = [];

function upload() {
  const body = Buffer.alloc(64 * 1024, 1);
  listeners.push(() => body.length);
  corpus.hold('upload', 1);
}

corpus.begin(8, upload);
