// Published: ecstatic 3.3.2, the file server inside http-server before 13, leaves
// the file of an aborted download open (http-party/http-server, issue 512), and
// that of a whole one if the client hangs up before the end of file is read.
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');
const corpus = require('../lib/corpus.js');
const ecstatic = require('ecstatic');

function openFiles(folder) {
  const targets = fs.readdirSync('/proc/self/fd').map((fd) => {
    try { return fs.readlinkSync(`/proc/self/fd/${fd}`); } catch { return ''; }
  });
  return targets.filter((target) => target.startsWith(folder)).length;
}

const folder = path.dirname(corpus.scratchPath('x'));
fs.writeFileSync(path.join(folder, 'small'), 'x'.repeat(2000));
fs.writeFileSync(path.join(folder, 'large'), 'x'.repeat(32 << 20));
const server = http.createServer(ecstatic({ root: folder, showDir: false }));
let known = 0;
server.listen(0, '127.0.0.1', async () => {
  await corpus.peer('http_client.js', server.address().port, 10, '/small,/large', 5);
  corpus.begin(1, () => {
    corpus.hold('ecstatic', openFiles(folder) - known);
    known = openFiles(folder);
  });
});
