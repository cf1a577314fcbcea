// Picks messages by patterns: in a topic exchange * is one word and # is any number of
// words, none included.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const exchange = check.name('animals');
  await channel.assertExchange(exchange, 'topic', { durable: true });

  const keys = ['quick.orange.hare', 'lazy.orange.fox', 'lazy.brown.hare', 'quick.brown.fox',
    'lazy', 'orange', 'quick.orange.new.hare', ''];
  const subscriptions = [
    { patterns: ['*.orange.*'], want: ['quick.orange.hare', 'lazy.orange.fox'] },
    { patterns: ['*.*.hare', 'lazy.#'], want: ['quick.orange.hare', 'lazy.orange.fox', 'lazy.brown.hare', 'lazy'] },
    { patterns: ['#'], want: keys },
    { patterns: ['*'], want: ['lazy', 'orange'] },
    { patterns: ['quick.#.hare'], want: ['quick.orange.hare', 'quick.orange.new.hare'] },
    { patterns: ['orange'], want: ['orange'] },
    { patterns: ['#.#.cat'], want: [] },
  ];
  for (const subscription of subscriptions) {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (const pattern of subscription.patterns) await channel.bindQueue(queue, exchange, pattern);
    subscription.queue = queue;
    subscription.inbox = await check.Inbox.consume(channel, queue, { noAck: true });
  }

  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  for (const { queue } of subscriptions) channel.sendToQueue(queue, Buffer.from('end'));
  await check.soon(channel.waitForConfirms(), 'confirms');
  for (const { patterns, want, inbox } of subscriptions) {
    assert.deepEqual(await inbox.until('end'), want, `bound to ${patterns}`);
  }
});
