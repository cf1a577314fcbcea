// What the programs beside this file share: a connection to the broker at $AMQP_URL, names
// nobody else uses, waits that end, and an ending that cleans up. It wraps nothing of the
// AMQP library: the programs are meant to read as a newcomer would write them.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const amqp = require('amqplib');

const LIMIT = 20_000; // milliseconds for a whole program
const WAIT = 10_000; // for one thing to arrive

const url = process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/';
const connections = [];
const names = [];

// connect opens a connection that is closed when the program ends.
async function connect() {
  const connection = await amqp.connect(url);
  connection.on('error', () => {}); // what fails, fails where it is awaited
  connections.push(connection);
  return connection;
}

// name makes a name for a queue or an exchange that no other run has. What is declared
// under it is deleted when the program ends, however it ends.
function name(what) {
  const unique = `clients.node.${what}.${process.pid}-${crypto.randomBytes(6).toString('hex')}`;
  names.push(unique);
  return unique;
}

// soon waits for a promise, but not for long.
function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${WAIT} ms`)), WAIT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Inbox holds what a consumer was given until somebody asks for it. `await Inbox.consume(…)`
// resolves when the broker has taken the consumer in.
class Inbox {
  messages = [];
  waiting = [];

  static async consume(channel, queue, options) {
    const inbox = new Inbox();
    inbox.consumer = await channel.consume(queue, (message) => inbox.put(message), options);
    return inbox;
  }

  put(message) {
    const waiter = this.waiting.shift();
    if (waiter) waiter(message);
    else this.messages.push(message);
  }

  // next is the next message; who waits longer than ten seconds fails.
  async next() {
    const message = this.messages.length
      ? this.messages.shift()
      : await soon(new Promise((resolve) => this.waiting.push(resolve)), 'message');
    assert.ok(message, 'the broker ended the consumer');
    return message;
  }

  // until collects the bodies up to, and without, the one that is last.
  async until(last) {
    const bodies = [];
    for (;;) {
      const body = (await this.next()).content.toString();
      if (body === last) return bodies;
      bodies.push(body);
    }
  }
}

// deaths is how often a message died in queue for reason, as its x-death header has it.
function deaths(message, queue, reason) {
  const history = message.properties.headers['x-death'] || [];
  const death = history.find((d) => d.queue === queue && d.reason === reason);
  return death ? death.count : 0;
}

// run runs a program, cleans up after it and ends the process.
async function run(program) {
  setTimeout(() => {
    console.error(`not done after ${LIMIT} ms`);
    process.exit(1);
  }, LIMIT);
  let failed = false;
  try {
    await program();
  } catch (error) {
    console.error(error);
    failed = true;
  }
  try {
    // A connection of its own: the program's may be what failed. Deleting what does not
    // exist is not an error, so nobody has to remember which name is what.
    const connection = await amqp.connect(url);
    const channel = await connection.createChannel();
    for (const each of names) {
      await channel.deleteQueue(each);
      await channel.deleteExchange(each);
    }
    await connection.close();
    for (const each of connections) await each.close().catch(() => {});
  } catch (error) {
    console.error('clean up:', error);
    failed = true;
  }
  process.exit(failed ? 1 : 0);
}

module.exports = { Inbox, connect, deaths, name, run, soon };
