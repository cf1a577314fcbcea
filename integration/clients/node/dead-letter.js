// Gives a job three attempts. The worker counts them by the x-death header, and puts a job
// that failed three times where somebody can look at it.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const [work, waiting, dead] = ['work', 'waiting', 'dead'].map(check.name);
  await channel.assertQueue(work, { durable: true, deadLetterExchange: '', deadLetterRoutingKey: waiting });
  await channel.assertQueue(waiting, { durable: true, messageTtl: 50, deadLetterExchange: '', deadLetterRoutingKey: work });
  await channel.assertQueue(dead, { durable: true });

  for (let i = 0; i < 6; i++) channel.sendToQueue(work, Buffer.from(`job ${i}`), { persistent: true });
  await check.soon(channel.waitForConfirms(), 'confirms');

  // Jobs 2 and 5 fail whatever one does, job 3 fails once.
  const inbox = await check.Inbox.consume(channel, work);
  const attempts = new Map();
  const finished = [];
  for (let left = 6; left > 0; ) {
    const message = await inbox.next();
    const job = message.content.toString();
    attempts.set(job, (attempts.get(job) || 0) + 1);
    const failures = check.deaths(message, work, 'rejected');
    assert.equal(failures, attempts.get(job) - 1, `failures of ${job} by its x-death`);

    if (job === 'job 2' || job === 'job 5' || (job === 'job 3' && failures === 0)) {
      if (failures < 2) {
        channel.reject(message, false);
        continue;
      }
      // Kept safe first and acknowledged then: a worker that dies between the two leaves
      // it twice, never not at all.
      channel.sendToQueue(dead, message.content, { persistent: true, headers: { failures: failures + 1 } });
      await check.soon(channel.waitForConfirms(), 'confirm');
    } else {
      finished.push(job);
    }
    channel.ack(message);
    left--;
  }
  assert.deepEqual(finished.sort(), ['job 0', 'job 1', 'job 3', 'job 4']);
  assert.equal(attempts.get('job 0'), 1);
  assert.equal(attempts.get('job 3'), 2);

  const failed = [];
  for (let message; (message = await channel.get(dead, { noAck: true })); ) {
    assert.equal(message.properties.headers.failures, 3);
    failed.push(message.content.toString());
  }
  assert.deepEqual(failed.sort(), ['job 2', 'job 5']);
  for (const queue of [work, waiting]) {
    assert.equal((await channel.checkQueue(queue)).messageCount, 0, `messages left in ${queue}`);
  }
});
