// Speaks to the broker at $AMQPS_URL over TLS: trusts the authority in $AMQPS_DIR, and logs in
// with a password and with a certificate.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const amqp = require('amqplib');
const check = require('./check');

const file = (name) => fs.readFileSync(path.join(process.env.AMQPS_DIR, name));
const url = process.env.AMQPS_URL;

check.run(async () => {
  const trusted = { ca: [file('ca.pem')] };
  const byPassword = await amqp.connect(url, trusted);
  const byCertificate = await amqp.connect(url, {
    ...trusted, cert: file('client.pem'), key: file('client.key'), credentials: amqp.credentials.external(),
  });
  const producer = await byPassword.createConfirmChannel();
  const consumer = await byCertificate.createChannel();
  const queue = check.name('tls');
  await consumer.assertQueue(queue, { durable: false });
  const inbox = await check.Inbox.consume(consumer, queue, { noAck: true });
  const long = 'x'.repeat(300_000);
  for (const body of ['secret', long, 'end']) producer.sendToQueue(queue, Buffer.from(body));
  await check.soon(producer.waitForConfirms(), 'confirms');
  assert.deepEqual(await inbox.until('end'), ['secret', long]);
  await assert.rejects(amqp.connect(url), 'a broker is trusted that nobody vouches for');
  await byPassword.close();
  await byCertificate.close();
});
