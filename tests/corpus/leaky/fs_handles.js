// preview() opens a file by fs.open. An empty preview is answered before the
// fs.close.
'use strict';
const fs = require('fs');
const corpus = require('../lib/corpus.js');

function preview(file, empty) {
  fs.open(file, 'r', (error, fd) => {
    if (error) throw error;
    fs.read(fd, Buffer.alloc(64), 0, 64, 0, () => {
      if (empty) {
        corpus.hold('preview', 1);
        return;
      }
      fs.close(fd, () => {});
    });
  });
}

const file = corpus.scratchPath('document');
fs.writeFileSync(file, 'text '.repeat(100));
corpus.begin(10, () => preview(file, corpus.oneIn(5)));
