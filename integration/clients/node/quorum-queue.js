// The work queue as RabbitMQ's tutorials have it today: a durable quorum queue, acknowledged
// by hand. A worker that dies, connection and all, loses nothing.
'use strict';

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const check = require('./check');

const QUORUM = { durable: true, arguments: { 'x-queue-type': 'quorum' } };

// The first worker is a process of its own, so that it can be killed. It may hold three
// tasks and finishes the first, which lets a fourth come.
async function worker(queue) {
  const connection = await check.connect();
  const channel = await connection.createChannel();
  await channel.prefetch(3);
  let count = 0;
  await channel.consume(queue, (message) => {
    if (count++ === 0) channel.ack(message);
    process.send({ task: message.content.toString(), redelivered: message.fields.redelivered });
  });
}

async function program() {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const queue = check.name('tasks');
  await channel.assertQueue(queue, QUORUM);
  const tasks = Array.from({ length: 5 }, (_, i) => `task ${i}`);
  for (const task of tasks) channel.sendToQueue(queue, Buffer.from(task), { persistent: true });
  await check.soon(channel.waitForConfirms(), 'confirms');

  const first = fork(__filename, [queue]);
  try {
    const taken = [];
    first.on('message', (told) => taken.push(told));
    while (taken.length < 4) await check.soon(once(first, 'message'), 'task for the first worker');
    assert.deepEqual(taken, tasks.slice(0, 4).map((task) => ({ task, redelivered: false })));
  } finally {
    first.kill('SIGKILL');
  }

  // The second finds the other four, and those that had been out are marked.
  const inbox = await check.Inbox.consume(channel, queue);
  const got = [];
  for (let i = 0; i < 4; i++) {
    const message = await inbox.next();
    const task = message.content.toString();
    got.push(task);
    const out = task !== tasks[4];
    assert.equal(message.fields.redelivered, out, `${task}: redelivered`);
    if (out) assert.equal(message.properties.headers['x-delivery-count'], 1, `${task}: x-delivery-count`);
    channel.ack(message);
  }
  assert.deepEqual(got.sort(), tasks.slice(1));
  assert.equal((await channel.checkQueue(queue)).messageCount, 0, 'messages left');
}

if (process.argv[2]) worker(process.argv[2]);
else check.run(program);
