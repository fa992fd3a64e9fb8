// HTTP clients in a process of their own: node keep_alive_clients.js PORT COUNT.
// Each keeps one connection and asks every two to seven seconds.
'use strict';
const http = require('http');

const [port, count] = process.argv.slice(2).map(Number);
for (let number = 0; number < count; number += 1) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  setInterval(() => {
    http.get({ host: '127.0.0.1', port, path: '/', agent }, (response) => response.resume()).on('error', () => {});
  }, 2000 + (number % 6) * 1000);
}
console.log('1');
process.stdin.on('end', () => process.exit(0)).resume();
