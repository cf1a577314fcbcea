// A NestJS microservice over its RabbitMQ transport: requests and replies, events that are
// acknowledged by hand and tried again over a queue with a TTL, topics, and a service that goes on
// after its connection was cut. Decorators are applied by hand, so that nothing is to be compiled.
'use strict';

require('reflect-metadata');
const assert = require('node:assert/strict');
const { firstValueFrom, timeout } = require('rxjs');
const { Module, Controller } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { ClientProxyFactory, Ctx, EventPattern, MessagePattern, Payload, RpcException, Transport } = require('@nestjs/microservices');
const { connect, deaths, name, run, soon } = require('../node/check');
const management = require('./management');

const url = process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/';

// decorate applies decorators to a method, and Payload and Ctx to its two arguments.
function decorate(controller, method, ...decorators) {
  const property = Object.getOwnPropertyDescriptor(controller.prototype, method);
  for (const each of decorators) each(controller.prototype, method, property);
  Payload()(controller.prototype, method, 0);
  Ctx()(controller.prototype, method, 1);
}

class Shop {
  static attempts = [];

  sum(numbers, context) {
    context.getChannelRef().ack(context.getMessage());
    if (!Array.isArray(numbers)) throw new RpcException('these are no numbers');
    return numbers.reduce((a, b) => a + b, 0);
  }

  // It works the third time. Until then the message is dead-lettered to where it waits.
  ordered(order, context) {
    const message = context.getMessage();
    const times = deaths(message, Shop.queue, 'rejected');
    Shop.attempts.push(times);
    if (times < 2) return context.getChannelRef().nack(message, false, false);
    context.getChannelRef().ack(message);
    Shop.done(order);
  }
}
decorate(Shop, 'sum', MessagePattern('sum'));
decorate(Shop, 'ordered', EventPattern('ordered'));
Controller()(Shop);

class Listener {
  static seen = [];

  shipped(what, context) {
    context.getChannelRef().ack(context.getMessage());
    Listener.seen.push([context.getPattern(), what]);
    if (what === 'last') Listener.done();
  }
}
decorate(Listener, 'shipped', EventPattern('shipped.*.express'));
Controller()(Listener);

// serve starts a service with one controller, and makes a client of it.
async function serve(controller, options, forClient = options) {
  class Service {}
  Module({ controllers: [controller] })(Service);
  const service = await NestFactory.createMicroservice(Service, {
    logger: false, // or it tells of the connection that is cut below
    abortOnError: false,
    transport: Transport.RMQ,
    options: { urls: [url], noAck: false, ...options },
  });
  await service.listen();
  const client = ClientProxyFactory.create({ transport: Transport.RMQ, options: { urls: [url], ...forClient } });
  await client.connect();
  return [service, client];
}

run(async () => {
  const [queue, waiting, topics, express] = [name('shop'), name('waiting'), name('topics'), name('express')];
  Shop.queue = queue;
  const channel = await (await connect()).createChannel();
  await channel.assertQueue(waiting, {
    durable: true,
    arguments: { 'x-message-ttl': 200, 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': queue },
  });

  const connectionName = name('connection');
  const [, client] = await serve(Shop, {
    queue,
    prefetchCount: 3,
    queueOptions: {
      durable: true,
      arguments: { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': waiting },
    },
    socketOptions: { connectionOptions: { clientProperties: { connection_name: connectionName } }, reconnectTimeInSeconds: 1 },
  });
  const ask = (numbers) => firstValueFrom(client.send('sum', numbers).pipe(timeout(2000)));

  // Replies come over amq.rabbitmq.reply-to, each to who asked.
  const sums = await Promise.all(Array.from({ length: 100 }, (_, n) => ask([n, n])));
  assert.deepEqual(sums, Array.from({ length: 100 }, (_, n) => 2 * n));
  await assert.rejects(ask('many'), (error) => /these are no numbers/.test(error.message ?? error));

  const done = new Promise((resolve) => (Shop.done = resolve));
  const began = Date.now();
  client.emit('ordered', { lamps: 2 });
  assert.deepEqual(await soon(done, 'order'), { lamps: 2 });
  assert.deepEqual(Shop.attempts, [0, 1, 2]);
  assert.ok(Date.now() - began >= 399, `two pauses of 200 ms took ${Date.now() - began} ms`);

  // A queue bound to a topic exchange, and patterns that the broker and Nest both know.
  const [listener, publisher] = await serve(
    Listener,
    { queue: express, exchange: topics, exchangeType: 'topic', wildcards: true, queueOptions: { durable: false, autoDelete: true } },
    { exchange: topics, exchangeType: 'topic', wildcards: true, queue: express, queueOptions: { durable: false, autoDelete: true } },
  );
  const last = new Promise((resolve) => (Listener.done = resolve));
  for (const [pattern, what] of [['shipped.it.express', 'one'], ['shipped.it.slow', 'no'], ['shipped.fr.express', 'last']]) {
    await firstValueFrom(publisher.emit(pattern, what), { defaultValue: null });
  }
  await soon(last, 'express parcel');
  assert.deepEqual(Listener.seen, [['shipped.it.express', 'one'], ['shipped.fr.express', 'last']]);

  publisher.close();
  await listener.close();

  // The service and its client connect, declare and consume again.
  assert.equal(await management.cut(connectionName), 2);
  const again = async () => {
    for (;;) {
      const sum = await ask([20, 22]).catch(() => new Promise((resolve) => setTimeout(resolve, 100)));
      if (sum !== undefined) return sum;
    }
  };
  assert.equal(await soon(again(), 'sum after the cut'), 42);
  // Not closed: a reply to who has stopped waiting may be under way, which Nest then throws.
});
