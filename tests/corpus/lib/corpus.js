// What every Node program of the corpus shares: clock, pace, dice, truth, peers.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const seconds = Number(process.argv[2] || process.env.CORPUS_SECONDS || 120);
const begun = Date.now();
const held = {};
let dice = 20260101;
let scratch;
const peers = [];

function sayTruth() {
  let text = '';
  for (const [name, count] of Object.entries(held)) text += `held ${name} ${count}\n`;
  fs.writeSync(1, text || '\n');
}

// hold(name, change): counts what a function still holds.
function hold(name, change) {
  held[name] = (held[name] || 0) + change;
}

// roll(): the next of a row of numbers that is the same in every run.
function roll() {
  dice = (Math.imul(dice, 1664525) + 1013904223) >>> 0;
  return dice >>> 8;
}

// scratchPath(name): a path in this program's own folder, which the end removes.
function scratchPath(name) {
  scratch ||= fs.mkdtempSync(path.join(os.tmpdir(), 'corpus-'));
  return path.join(scratch, name);
}

// begin(rate, work): prints `ready` and does `work` at that pace until time is over.
function begin(perSecond, work) {
  fs.writeSync(1, 'ready\n');
  setInterval(work, 1000 / perSecond);
  setTimeout(finish, Math.max(0, begun + seconds * 1000 - Date.now()));
}

// finish(): the truth, then the end, with all that is held still held.
function finish() {
  sayTruth();
  for (const child of peers) child.kill('SIGKILL');
  if (scratch) fs.rmSync(scratch, { recursive: true, force: true });
  process.reallyExit(0);
}

// peer(file, ...args): runs a file of lib/ in a process of its own; resolves to the
// port that it prints. It ends when its standard input does.
function peer(file, ...args) {
  const child = spawn(process.execPath, [path.join(__dirname, file), ...args.map(String)],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  peers.push(child);
  return new Promise((resolve) => child.stdout.once('data', (text) => resolve(Number(text))));
}

process.on('SIGUSR1', sayTruth);

module.exports = {
  begin, finish, hold, peer, roll, scratchPath,
  oneIn: (n) => roll() % n === 0,
  elapsed: () => (Date.now() - begun) / 1000,
};
