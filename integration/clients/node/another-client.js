// rabbitmq-client, which shares no code with amqplib: a consumer that returns a job or drops it by
// what its handler answers, a publisher that waits for confirms, and requests with replies.
'use strict';

const assert = require('node:assert/strict');
const { Connection, ConsumerStatus } = require('rabbitmq-client');
const { deaths, name, run, soon } = require('./check');

run(async () => {
  const [jobs, work, dead, rpc] = ['jobs', 'work', 'dead', 'rpc'].map(name);
  const connection = new Connection(process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/');
  connection.on('error', () => {}); // what fails, fails where it is awaited

  const came = [];
  let allDone;
  const done = new Promise((resolve) => (allDone = resolve));
  await connection.queueDeclare({ queue: dead, durable: true });
  const consumer = connection.createConsumer(
    {
      queue: work,
      queueOptions: {
        durable: true,
        arguments: { 'x-queue-type': 'quorum', 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead },
      },
      qos: { prefetchCount: 2 },
      exchanges: [{ exchange: jobs, type: 'topic', durable: true }],
      queueBindings: [{ exchange: jobs, routingKey: 'job.#' }],
    },
    async (message) => {
      came.push([message.body.id, message.redelivered]);
      if (message.body.id === 'bad') return ConsumerStatus.DROP;
      if (message.body.id === 'unlucky' && !message.redelivered) return ConsumerStatus.REQUEUE;
      if (message.body.id === 'last') allDone();
    },
  );
  await soon(new Promise((resolve) => consumer.once('ready', resolve)), 'consumer');

  const publisher = connection.createPublisher({ confirm: true, maxAttempts: 2 });
  for (const id of ['good', 'bad', 'unlucky']) await publisher.send({ exchange: jobs, routingKey: `job.${id}`, durable: true }, { id });
  const returned = new Promise((resolve) => publisher.once('basic.return', resolve));
  await publisher.send({ exchange: jobs, routingKey: 'elsewhere', mandatory: true }, 'for nobody');
  assert.equal((await soon(returned, 'returned message')).replyCode, 312);
  await publisher.send({ exchange: jobs, routingKey: 'job.last' }, { id: 'last' });
  await soon(done, 'last job');
  await consumer.close(); // when the handlers have answered
  assert.deepEqual(
    came.filter(([id]) => id !== 'last').sort((a, b) => (`${a}` < `${b}` ? -1 : 1)),
    [['bad', false], ['good', false], ['unlucky', false], ['unlucky', true]],
  );
  const buried = await connection.basicGet({ queue: dead, noAck: true });
  assert.deepEqual(buried.body, { id: 'bad' });
  assert.equal(deaths({ properties: buried }, work, 'rejected'), 1);

  const server = connection.createConsumer({ queue: rpc, queueOptions: { exclusive: true } }, async (request, reply) => {
    await reply(request.body * request.body);
  });
  await soon(new Promise((resolve) => server.once('ready', resolve)), 'server');
  const client = connection.createRPCClient({ confirm: true });
  assert.deepEqual(await Promise.all([2, 3, 4].map(async (n) => (await client.send(rpc, n)).body)), [4, 9, 16]);

  // A refused passive declaration takes its channel, and the next call has another one.
  await assert.rejects(connection.queueDeclare({ queue: name('none'), passive: true }), { code: 'NOT_FOUND' });
  assert.equal((await connection.queueDeclare({ queue: dead, passive: true })).messageCount, 0);

  await client.close();
  await server.close();
  await publisher.close();
  await connection.close();
});
