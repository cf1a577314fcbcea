// Picks messages by what their headers say: all of it, or any of it.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const exchange = check.name('documents');
  await channel.assertExchange(exchange, 'headers', { durable: false });

  const subscriptions = [
    { terms: { 'x-match': 'all', format: 'pdf', pages: 2 }, want: ['pdf of two', 'signed pdf of two'] },
    { terms: { 'x-match': 'any', format: 'pdf', signed: true }, want: ['pdf of two', 'signed pdf of two', 'pdf of nine', 'signed text'] },
    { terms: { format: 'text' }, want: ['signed text'] }, // all is what is meant when nothing is said
  ];
  for (const subscription of subscriptions) {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, exchange, '', subscription.terms);
    subscription.queue = queue;
    subscription.inbox = await check.Inbox.consume(channel, queue, { noAck: true });
  }

  const publish = (body, headers) => channel.publish(exchange, 'ignored', Buffer.from(body), { headers });
  publish('pdf of two', { format: 'pdf', pages: 2 });
  publish('signed pdf of two', { format: 'pdf', pages: 2, signed: true });
  publish('pdf of nine', { format: 'pdf', pages: 9 });
  publish('signed text', { format: 'text', signed: true });
  publish('image', { format: 'png', signed: false });
  publish('nothing said', {});
  for (const { queue } of subscriptions) channel.sendToQueue(queue, Buffer.from('end'));
  await check.soon(channel.waitForConfirms(), 'confirms');
  for (const { terms, want, inbox } of subscriptions) {
    assert.deepEqual(await inbox.until('end'), want, `bound with ${JSON.stringify(terms)}`);
  }
});
