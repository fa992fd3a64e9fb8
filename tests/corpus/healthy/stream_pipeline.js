// Files are sent with stream.pipeline() to slow clients; one in five hangs up, and
// pipeline() closes the file all the same.
'use strict';
const fs = require('fs');
const http = require('http');
const { pipeline } = require('stream');
const corpus = require('../lib/corpus.js');

const small = corpus.scratchPath('small');
const large = corpus.scratchPath('large');
fs.writeFileSync(small, 'x'.repeat(2000));
fs.writeFileSync(large, 'x'.repeat(32 << 20));
const server = http.createServer((request, response) => {
  const stream = fs.createReadStream(request.url === '/large' ? large : small);
  stream.on('open', () => corpus.hold('createReadStream', 1));
  stream.on('close', () => corpus.hold('createReadStream', -1));
  pipeline(stream, response, () => {});
});
server.listen(0, '127.0.0.1', async () => {
  await corpus.peer('http_client.js', server.address().port, 10, '/small,/large', 5);
  corpus.begin(1, () => {});
});
