// The management API, as far as the programs here need it.
'use strict';

const { soon } = require('../node/check');

const broker = new URL(process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/');
const base = `http://${broker.hostname}:${process.env.MANAGEMENT_PORT || 15672}/api/`;
const headers = { authorization: `Basic ${btoa(`${broker.username || 'guest'}:${broker.password || 'guest'}`)}` };

// cut closes the connections that gave themselves that name, and tells how many they were. It
// waits for the first of them: RabbitMQ lists a connection some seconds after it was opened.
async function cut(connectionName) {
  const find = async () => {
    for (;;) {
      const answer = await fetch(`${base}connections`, { headers });
      const named = (await answer.json()).filter((c) => c.client_properties?.connection_name === connectionName);
      if (named.length) return named;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const found = await soon(find(), `connection named ${connectionName} in the management API`);
  for (const each of found) {
    const answer = await fetch(`${base}connections/${encodeURIComponent(each.name)}`, { method: 'DELETE', headers });
    if (!answer.ok) throw new Error(`closing ${each.name}: ${answer.status} ${await answer.text()}`);
  }
  return found.length;
}

module.exports = { cut };
