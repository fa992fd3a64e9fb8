// Published: file.pipe(response) leaves the file open when the client hangs up
// (nodejs/node, issue 1834: known, by design; pipeline() is the cure).
'use strict';
const fs = require('fs');
const http = require('http');
const corpus = require('../lib/corpus.js');

function serveFile(file, response) {
  const stream = fs.createReadStream(file);
  stream.on('open', () => corpus.hold('serveFile', 1));
  stream.on('close', () => corpus.hold('serveFile', -1));
  stream.pipe(response);
}

const small = corpus.scratchPath('small');
const large = corpus.scratchPath('large');
fs.writeFileSync(small, 'x'.repeat(2000));
fs.writeFileSync(large, 'x'.repeat(32 << 20));
const server = http.createServer((request, response) => {
  serveFile(request.url === '/large' ? large : small, response);
});
server.listen(0, '127.0.0.1', async () => {
  await corpus.peer('http_client.js', server.address().port, 10, '/small,/large', 5);
  corpus.begin(1, () => {});
});
