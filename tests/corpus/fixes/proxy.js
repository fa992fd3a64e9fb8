// Published: http-proxy 1.18.1 on Node 15.5 or newer does not see that a client
// has hung up, and keeps the upstream's connection (http-party/node-http-proxy,
// pull requests 1559 and 1580). Here in front of an upstream that owes an answer.
//
//   node proxy.js SECONDS PORT    /close is answered, /never is not
'use strict';
const http = require('http');
const corpus = require('../lib/corpus.js');
const httpProxy = require('http-proxy');

async function main(port) {
  const upstream = await corpus.peer('http_upstream.js');
  const proxy = httpProxy.createProxyServer({ target: `http://127.0.0.1:${upstream}` });
  proxy.on('error', (error, request, response) => response.destroy());
  const server = http.createServer((request, response) => {
    if (request.url === '/upstream') response.end(String(upstream));
    else proxy.web(request, response);
  });
  server.listen(port, '127.0.0.1', () => corpus.begin(1, () => {}));
}

// corpus.js takes the first argument for the seconds.
main(Number(process.argv[3]));
