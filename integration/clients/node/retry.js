// Tries a job again after a pause. The worker rejects it; the work queue dead-letters it to a
// queue where nobody consumes; when its time there is up it is dead-lettered back.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

const PAUSE = 300;

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const [work, waiting, retries] = ['work', 'waiting', 'retries'].map(check.name);
  await channel.assertExchange(retries, 'direct', { durable: true });
  await channel.assertQueue(work, { durable: true, deadLetterExchange: retries });
  await channel.assertQueue(waiting, {
    durable: true,
    messageTtl: PAUSE,
    deadLetterExchange: '', // the default exchange: the key is a queue's name
    deadLetterRoutingKey: work,
  });
  await channel.bindQueue(waiting, retries, work);

  const inbox = await check.Inbox.consume(channel, work);
  channel.sendToQueue(work, Buffer.from('job'), { persistent: true });
  await check.soon(channel.waitForConfirms(), 'confirm');

  let rejected;
  for (let attempt = 1; attempt <= 3; attempt++) {
    const message = await inbox.next();
    assert.equal(message.content.toString(), 'job');
    assert.equal(message.fields.redelivered, false, 'a dead letter is a new message');
    if (attempt > 1) {
      const took = performance.now() - rejected;
      // A millisecond of grace: the broker's clock need not tick with ours.
      assert.ok(took > PAUSE - 1, `attempt ${attempt} came after ${took} ms, want ${PAUSE}`);
      checkHistory(message, attempt - 1, work, waiting, retries);
    }
    if (attempt < 3) {
      rejected = performance.now();
      channel.reject(message, false);
    } else {
      channel.ack(message);
    }
  }
});

// checkHistory fails unless the message says that it was rejected and expired so often.
function checkHistory(message, times, work, waiting, retries) {
  const { headers } = message.properties;
  assert.equal(check.deaths(message, work, 'rejected'), times);
  assert.equal(check.deaths(message, waiting, 'expired'), times);
  const history = headers['x-death'];
  assert.equal(history.length, 2, 'one entry for each queue');

  // The latest comes first, and says where the message had been published to.
  const latest = history[0];
  assert.equal(latest.reason, 'expired');
  assert.equal(latest.queue, waiting);
  assert.equal(latest.exchange, retries);
  assert.deepEqual(latest['routing-keys'], [work]);
  assert.equal(latest.time['!'], 'timestamp');

  assert.equal(headers['x-first-death-reason'], 'rejected');
  assert.equal(headers['x-first-death-queue'], work);
  assert.equal(headers['x-first-death-exchange'], '');
}
