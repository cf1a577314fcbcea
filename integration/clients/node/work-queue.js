// Shares a durable queue between three workers who hold one message at a time, so that the
// slow one gets fewer.
'use strict';

const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const check = require('./check');

const JOBS = 60;

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const queue = check.name('jobs');
  await channel.assertQueue(queue, { durable: true });

  // Workers first, so that the fast ones do not find everything already taken.
  const handled = new Map();
  const byWho = [0, 0, 0];
  const workers = [];
  let all;
  const done = new Promise((resolve) => { all = resolve; });
  for (const [who, effort] of [1, 1, 80].entries()) {
    const worker = await check.connect();
    workers.push(worker);
    const channel = await worker.createChannel();
    await channel.prefetch(1);
    await channel.consume(queue, async (message) => {
      await sleep(effort);
      channel.ack(message);
      const job = message.content.toString();
      handled.set(job, (handled.get(job) || 0) + 1);
      byWho[who]++;
      if (handled.size === JOBS) all();
    });
  }

  for (let i = 0; i < JOBS; i++) channel.sendToQueue(queue, Buffer.from(`job ${i}`), { persistent: true });
  await check.soon(channel.waitForConfirms(), 'confirms');
  await check.soon(done, 'end of the work');
  for (const worker of workers) await worker.close();

  for (const [job, times] of handled) assert.equal(times, 1, `${job} was handled ${times} times`);
  assert.ok(byWho[2] < byWho[0] && byWho[2] < byWho[1], `jobs per worker, the last is slow: ${byWho}`);

  // What a worker had not acknowledged would have come back when it closed.
  const { messageCount, consumerCount } = await channel.checkQueue(queue);
  assert.deepEqual([messageCount, consumerCount], [0, 0], 'messages and consumers that are left');
});
