// Tries a job again after growing pauses, over an x-delayed-message exchange: the worker publishes
// a copy with a longer x-delay and how often it has tried, and only then acknowledges what failed.
'use strict';

const assert = require('node:assert/strict');
const { Inbox, connect, name, run } = require('./check');

const PAUSES = [100, 200, 400]; // milliseconds before the second attempt, the third and the fourth

run(async () => {
  const [jobs, work] = [name('jobs'), name('work')];
  const channel = await (await connect()).createConfirmChannel();
  await channel.assertExchange(jobs, 'x-delayed-message', {
    durable: true,
    arguments: { 'x-delayed-type': 'direct' },
  });
  await channel.assertQueue(work, { durable: true });
  await channel.bindQueue(work, jobs, 'job');
  await channel.prefetch(1);
  const inbox = await Inbox.consume(channel, work);

  const publish = (body, headers) => {
    channel.publish(jobs, 'job', Buffer.from(body), { persistent: true, headers });
    return channel.waitForConfirms();
  };
  await publish('never fails', { 'x-delay': 10_000 }); // is not waited for, and holds up nobody
  await publish('fails', {});
  await publish('late', { 'x-delay': 150 });
  await publish('sooner', { 'x-delay': 50 });

  const came = [];
  let failed = 0;
  for (let attempt = 0; attempt <= PAUSES.length || came.length < 6; ) {
    const message = await inbox.next();
    const body = message.content.toString();
    came.push(body);
    // What was delayed says for how long, as a number below zero: so it does not wait again.
    const delay = message.properties.headers['x-delay'];
    if (body === 'fails') {
      const tried = message.properties.headers['x-tried'] ?? 0;
      assert.equal(tried, attempt);
      if (attempt > 0) {
        assert.equal(delay, -PAUSES[attempt - 1]);
        const took = Date.now() - failed;
        assert.ok(took >= PAUSES[attempt - 1] - 1, `attempt ${attempt + 1} came after ${took} ms`);
      }
      if (attempt < PAUSES.length) {
        failed = Date.now();
        await publish('fails', { 'x-delay': PAUSES[attempt], 'x-tried': tried + 1 });
      }
      attempt++;
    } else {
      assert.equal(delay, body === 'late' ? -150 : -50);
    }
    channel.ack(message);
  }
  // By when they were due, not by when they were published: 0, 50, 100, 150, 300 and 700 ms.
  assert.deepEqual(came, ['fails', 'sooner', 'fails', 'late', 'fails', 'fails']);
});
