// Picks messages by their routing key with a direct exchange, and hears about the ones that
// nobody wanted.
'use strict';

const assert = require('node:assert/strict');
const check = require('./check');

check.run(async () => {
  const connection = await check.connect();
  const channel = await connection.createConfirmChannel();
  const exchange = check.name('severities');
  await channel.assertExchange(exchange, 'direct', { durable: false });

  const subscribe = async (...keys) => {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (const key of keys) await channel.bindQueue(queue, exchange, key);
    return check.Inbox.consume(channel, queue, { noAck: true }).then((inbox) => ({ queue, inbox }));
  };
  const serious = await subscribe('error', 'fatal');
  const everything = await subscribe('info', 'error', 'fatal');

  for (const severity of ['info', 'error', 'debug', 'fatal', 'Error', 'error.disk']) {
    channel.publish(exchange, severity, Buffer.from(severity));
  }
  for (const { queue } of [serious, everything]) channel.sendToQueue(queue, Buffer.from('end'));
  await check.soon(channel.waitForConfirms(), 'confirms');
  assert.deepEqual(await serious.inbox.until('end'), ['error', 'fatal']);
  assert.deepEqual(await everything.inbox.until('end'), ['info', 'error', 'fatal']);

  // A mandatory message that reaches no queue comes back, and before its confirm.
  let returned;
  channel.on('return', (message) => { returned = message; });
  channel.publish(exchange, 'debug', Buffer.from('anybody?'), { mandatory: true });
  await check.soon(channel.waitForConfirms(), 'confirm');
  assert.ok(returned, 'the confirm came, the message for nobody did not');
  assert.equal(returned.content.toString(), 'anybody?');
  assert.equal(returned.fields.replyCode, 312);
  assert.equal(returned.fields.routingKey, 'debug');
});
