// Publishes one request: AMQP_URL=amqp://… node publish.js request.json (npm install amqplib).
const fs = require('node:fs');
const amqp = require('amqplib');

async function main() {
  const body = fs.readFileSync(process.argv[2]);
  const { requestId } = JSON.parse(body);
  const connection = await amqp.connect(process.env.AMQP_URL);
  const channel = await connection.createConfirmChannel();
  let returned = false;
  channel.on('return', () => { returned = true; });
  channel.publish('verification.requests', 'onboarding-web', body, {
    persistent: true, // it survives a restart of the broker
    mandatory: true, // returned where no queue takes it: a wrong vhost, no topology
    contentType: 'application/json',
    messageId: requestId,
    correlationId: requestId,
    timestamp: Math.floor(Date.now() / 1000),
  });
  await channel.waitForConfirms(); // the broker has it safe
  await connection.close();
  if (returned) throw new Error('no queue takes requests here');
  console.log(`published ${requestId}`);
}

main().catch((error) => {
  console.error(error.message); // publish the same again: the same requestId is never paid twice
  process.exitCode = 1;
});
