// Publishes one request encrypted: AMQP_URL=… node publish_encrypted.js request.json keys.json
// (npm install amqplib jose, or jose@5 before Node 20.19); keys.json: the public key set.
const fs = require('node:fs');
const amqp = require('amqplib');
const jose = require('jose');

async function main() {
  const body = fs.readFileSync(process.argv[2]);
  const { requestId } = JSON.parse(body);
  const key = JSON.parse(fs.readFileSync(process.argv[3])).keys[0]; // the first is the current one
  const encrypted = await new jose.CompactEncrypt(body)
    .setProtectedHeader({ alg: key.alg, enc: 'A256GCM', kid: key.kid })
    .encrypt(await jose.importJWK(key));
  const connection = await amqp.connect(process.env.AMQP_URL);
  const channel = await connection.createConfirmChannel();
  let returned = false;
  channel.on('return', () => { returned = true; });
  channel.publish('verification.requests', 'onboarding-web', Buffer.from(encrypted), {
    persistent: true,
    mandatory: true,
    contentType: 'application/jose',
    messageId: requestId, // properties are never encrypted: no personal data here
    correlationId: requestId,
    timestamp: Math.floor(Date.now() / 1000),
  });
  await channel.waitForConfirms();
  await connection.close();
  if (returned) throw new Error('no queue takes requests here');
  console.log(`published ${requestId}`);
}

main().catch((error) => {
  console.error(error.message); // publish the same again: the same requestId is never paid twice
  process.exitCode = 1;
});
