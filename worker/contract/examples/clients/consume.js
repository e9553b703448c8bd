// Takes results for ever: AMQP_URL=amqp://… node consume.js (npm install amqplib).
const amqp = require('amqplib');

const SOURCE = 'onboarding-web'; // what your requests have as `source`
const QUEUE = `${SOURCE}.results-of-node`;
const MODE = process.env.VERIFICATION_MODE || 'sandbox'; // `live` in production
const handled = new Set(); // in your system: a table with a unique eventId

async function main() {
  const connection = await amqp.connect(process.env.AMQP_URL);
  const channel = await connection.createChannel();
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await channel.bindQueue(QUEUE, 'verification.results', `${SOURCE}.*`);
  await channel.prefetch(50);
  await channel.consume(QUEUE, (message) => {
    const event = JSON.parse(message.content);
    if (!handled.has(event.eventId)) actOn(event);
    handled.add(event.eventId);
    channel.ack(message); // only now: a crash before brings it again
  });
}

function actOn(event) {
  if (event.mode !== MODE) throw new Error(`a ${event.mode} result came, and this is ${MODE}`);
  const why = event.error ? `, ${event.error.kind}` : '';
  console.log(`${event.requestId}: ${event.outcome}${why}`);
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
