// Tries a job again after growing pauses, over an x-delayed-message exchange: the worker publishes
// a copy with a longer x-delay and how often it has tried, and only then acknowledges what failed.
'use strict';

const assert = require('node:assert/strict');
const { Inbox, connect, name, run } = require('./check');

const PAUSES = [100, 200, 400]; // milliseconds before the second attempt, the third and the fourth

run(async () => {
  const [jobs, work] = [name('jobs'), name('work')];
  const channel = await (await connect()).createConfirmChannel();
  await channel.assertExchange(jobs, 'x-delayed-message', {
    durable: true,
    arguments: { 'x-delayed-type': 'direct' },
  });
  await channel.assertQueue(work, { durable: true });
  await channel.bindQueue(work, jobs, 'job');
  await channel.prefetch(1);
  const inbox = await Inbox.consume(channel, work);

  // publish tells when the message is due: at the soonest, and at the latest.
  const publish = async (body, delay = 0, tried = 0) => {
    const from = Date.now();
    channel.publish(jobs, 'job', Buffer.from(body), { persistent: true, headers: { 'x-delay': delay, 'x-tried': tried } });
    await channel.waitForConfirms();
    return { what: `${body} ${tried}`, soonest: from + delay, latest: Date.now() + delay };
  };
  await publish('never comes', 3_600_000); // and holds up nobody
  const due = [await publish('fails'), await publish('late', 300), await publish('sooner', 100)];

  const came = [];
  while (came.length < 3 + PAUSES.length) {
    const message = await inbox.next();
    const body = message.content.toString();
    const { 'x-delay': delay, 'x-tried': tried } = message.properties.headers;
    came.push({ what: `${body} ${tried}`, at: Date.now() });
    // What was delayed says for how long, as a number below zero: so it does not wait again.
    const want = { fails: tried ? -PAUSES[tried - 1] : 0, late: -300, sooner: -100 }[body];
    assert.ok(delay === want, `${body}, attempt ${tried + 1}: x-delay ${delay}, want ${want}`);
    if (body === 'fails' && tried < PAUSES.length) due.push(await publish('fails', PAUSES[tried], tried + 1));
    channel.ack(message);
  }

  assert.deepEqual(came.map((c) => c.what).sort(), due.map((d) => d.what).sort());
  const place = ({ what }) => came.findIndex((c) => c.what === what);
  for (const a of due) {
    const early = a.soonest - came[place(a)].at;
    assert.ok(early <= 1, `${a.what} came ${early} ms too early`); // its clock need not tick with ours
    for (const b of due) {
      // In the order in which they were due, wherever we can tell it.
      if (a.latest < b.soonest) assert.ok(place(a) < place(b), `${b.what} overtook ${a.what}`);
    }
  }
});
