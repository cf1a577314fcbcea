// Sends every message to every subscriber, through a fanout exchange and queues that the
// broker names and that belong to one connection.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const exchange = check.name('logs');
  await channel.assertExchange(exchange, 'fanout', { durable: false });

  // Nobody listens yet: this one is lost, and that is not an error.
  channel.publish(exchange, '', Buffer.from('too early'));
  await check.soon(channel.waitForConfirms(), 'confirm');

  const subscribers = [];
  for (let i = 0; i < 3; i++) {
    const connection = await check.connect();
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    assert.ok(queue, 'the broker gave the queue no name');
    await channel.bindQueue(queue, exchange, '');
    subscribers.push({ connection, queue, inbox: await check.Inbox.consume(channel, queue, { noAck: true }) });
  }

  const lines = Array.from({ length: 20 }, (_, i) => `line ${i}`);
  for (const line of [...lines, 'end']) channel.publish(exchange, 'the key does not matter', Buffer.from(line));
  await check.soon(channel.waitForConfirms(), 'confirms');
  for (const { inbox } of subscribers) assert.deepEqual(await inbox.until('end'), lines);

  // An exclusive queue is nobody else's while its connection lives ...
  const refusal = async (queue) => {
    const other = await connection.createChannel();
    other.on('error', () => {});
    return other.checkQueue(queue).then(() => 'accepted', (error) => error.code);
  };
  const { queue, connection: first } = subscribers[0];
  assert.equal(await refusal(queue), 405, "looking at another's exclusive queue");

  // ... and is gone with it.
  await first.close();
  assert.equal(await refusal(queue), 404, "looking at a closed connection's queue");
});
