// The last two hundred uploads are kept in a ring of buffers, each 64 KiB: full
// after half a minute, then the oldest goes for each new one.
'use strict';
const corpus = require('../lib/corpus.js');

const ring = new Array(200);
let number = 0;

corpus.begin(8, () => {
  if (!ring[number % ring.length]) corpus.hold('ring', 1);
  ring[number % ring.length] = Buffer.alloc(64 * 1024, number);
  number += 1;
});
