// @golevelup/nestjs-rabbitmq with an x-delayed-message exchange: a service whose error handler has
// a failed message come again, each time later, until it is set aside; and calls with replies.
'use strict';

require('reflect-metadata');
const assert = require('node:assert/strict');
const { Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { AmqpConnection, Nack, RabbitMQModule, RabbitRPC, RabbitSubscribe } = require('@golevelup/nestjs-rabbitmq');
const { Inbox, connect, name, run, soon } = require('../node/check');

const [jobs, work, failed, rpc, square] = ['jobs', 'work', 'failed', 'rpc', 'square'].map(name);
const url = process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/';
const PAUSES = [100, 200];

// later publishes what failed again, to come after the next pause; after the last it is rejected.
async function later(channel, message) {
  const headers = message.properties.headers;
  const tried = (headers['x-tried'] ?? 0) + 1;
  if (tried > PAUSES.length) return channel.nack(message, false, false);
  channel.publish(message.fields.exchange, message.fields.routingKey, message.content, {
    ...message.properties,
    headers: { ...headers, 'x-tried': tried, 'x-delay': PAUSES[tried - 1] },
  });
  channel.ack(message);
}

class Worker {
  static came = [];
  static waiting = 3;

  async work(job, message) {
    Worker.came.push([job.id, message.properties.headers['x-tried'] ?? 0, Date.now()]);
    if (job.fails > (message.properties.headers['x-tried'] ?? 0)) throw new Error('not this time');
    if (job.id === 'refused') return new Nack(); // dead-lettered, without the error handler
    if (--Worker.waiting === 0) Worker.done();
  }

  async square({ n }) {
    return { squared: n * n };
  }
}

function decorate(method, decorator) {
  decorator(Worker.prototype, method, Object.getOwnPropertyDescriptor(Worker.prototype, method));
}
decorate('work', RabbitSubscribe({
  exchange: jobs,
  routingKey: 'job.*',
  queue: work,
  queueOptions: { durable: true, deadLetterExchange: failed },
  errorHandler: later,
}));
decorate('square', RabbitRPC({ exchange: rpc, routingKey: 'square', queue: square }));

class App {}
Module({
  providers: [Worker],
  imports: [
    RabbitMQModule.forRoot({
      uri: url,
      exchanges: [
        { name: jobs, type: 'x-delayed-message', options: { durable: true, arguments: { 'x-delayed-type': 'topic' } } },
        { name: rpc, type: 'direct' },
      ],
      connectionInitOptions: { wait: true, timeout: 10_000 },
    }),
  ],
})(App);

run(async () => {
  const channel = await (await connect()).createChannel();
  await channel.assertExchange(failed, 'fanout');
  await channel.assertQueue(failed);
  await channel.bindQueue(failed, failed, '');
  const setAside = await Inbox.consume(channel, failed, { noAck: true });

  const app = await NestFactory.createApplicationContext(App, { logger: false, abortOnError: false });
  const connection = app.get(AmqpConnection);
  const done = new Promise((resolve) => (Worker.done = resolve));

  const began = Date.now();
  const publish = (id, fails, delay) =>
    connection.publish(jobs, `job.${id}`, { id, fails }, { persistent: true, headers: delay ? { 'x-delay': delay } : {} });
  await publish('delayed', 0, 250);
  await publish('unlucky', 2);
  await publish('hopeless', 9);
  await publish('refused', 0);
  await publish('lucky', 0);

  const aside = [await setAside.next(), await setAside.next()].map((message) => JSON.parse(message.content).id);
  assert.deepEqual(aside.sort(), ['hopeless', 'refused']);
  await soon(done, 'last job');

  const times = (id) => Worker.came.filter(([each]) => each === id);
  for (const [id, attempts] of [['delayed', 1], ['unlucky', 3], ['hopeless', 3], ['refused', 1], ['lucky', 1]]) {
    assert.deepEqual(times(id).map(([, tried]) => tried), [0, 1, 2].slice(0, attempts), id);
  }
  assert.ok(times('delayed')[0][2] - began >= 249, `${times('delayed')[0][2] - began} ms`);
  for (const [n, pause] of PAUSES.entries()) {
    const took = times('unlucky')[n + 1][2] - times('unlucky')[n][2];
    assert.ok(took >= pause - 1, `attempt ${n + 2} came after ${took} ms, want ${pause}`);
  }

  const answers = await Promise.all(
    [1, 2, 3].map((n) => connection.request({ exchange: rpc, routingKey: 'square', payload: { n }, timeout: 5000 })),
  );
  assert.deepEqual(answers, [1, 4, 9].map((squared) => ({ squared })));
  await app.close();
});
