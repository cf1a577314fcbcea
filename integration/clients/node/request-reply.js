// Asks questions through a queue. The answers come to an exclusive queue of the one who
// asked, each under the correlation id of its question.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

// serve answers with squares, later the smaller the number is, so that the answers do not
// come in the order of the questions.
async function serve(requests) {
  const connection = await check.connect();
  const channel = await connection.createChannel();
  await channel.assertQueue(requests, { durable: true });
  await channel.prefetch(10);
  await channel.consume(requests, (message) => {
    const n = Number(message.content);
    const { replyTo, correlationId } = message.properties;
    setTimeout(() => {
      channel.sendToQueue(replyTo, Buffer.from(String(n * n)), { correlationId });
      channel.ack(message);
    }, (10 - n) * 5);
  });
}

check.run(async () => {
  const requests = check.name('squares');
  await serve(requests);

  const connection = await check.connect();
  const channel = await connection.createChannel();
  const { queue: replyTo } = await channel.assertQueue('', { exclusive: true });
  const inbox = await check.Inbox.consume(channel, replyTo, { noAck: true });

  const want = new Map();
  for (let n = 0; n < 10; n++) {
    const correlationId = `question ${n}`;
    want.set(correlationId, String(n * n));
    channel.sendToQueue(requests, Buffer.from(String(n)), { correlationId, replyTo });
  }
  while (want.size) {
    const { content, properties: { correlationId } } = await inbox.next();
    assert.ok(want.has(correlationId), `an answer to ${correlationId}, which was not asked or is answered already`);
    assert.equal(content.toString(), want.get(correlationId), `the answer to ${correlationId}`);
    want.delete(correlationId);
  }
});
