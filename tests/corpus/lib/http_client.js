// An HTTP client in a process of its own: node http_client.js PORT RATE PATHS ABORT.
// Asks the comma-separated paths in turn at that rate. ABORT: every how many
// requests it hangs up after 150 ms without having read the answer (0: never).
'use strict';
const http = require('http');

const [port, rate, paths, abort] = process.argv.slice(2);
const all = paths.split(',');
let number = 0;

setInterval(() => {
  number += 1;
  const gone = Number(abort) > 0 && number % Number(abort) === 0;
  const url = gone ? all[all.length - 1] : all[number % Math.max(1, all.length - (Number(abort) > 0 ? 1 : 0))];
  const request = http.get({ host: '127.0.0.1', port, path: url, agent: false }, (response) => {
    if (!gone) response.resume();
  });
  request.on('error', () => {});
  if (gone) setTimeout(() => request.destroy(), 150);
}, 1000 / Number(rate));
console.log('1');
process.stdin.on('end', () => process.exit(0)).resume();
