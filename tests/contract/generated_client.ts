// Publishes one request and prints how it ended, by the types that a generator makes of the schemas.
import type { RequestV1 } from './request';
import type { ResultV1 } from './result';

declare function require(name: string): any;
declare const process: any;
declare const Buffer: any;

async function main(): Promise<void> {
  const asked: RequestV1 = {
    requestId: 'typed-ts',
    personalSpec: {
      checkType: 2,
      personalUser: { name: '张三', idCard: '11010519491231002X', mobile: null, bankcard: null },
    },
    source: null,
    context: { from: 'typescript' },
  };
  const connection = await require('amqplib').connect(process.env.AMQP_URL);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'verification.results', queue);
  const answer = new Promise<ResultV1>((resolve) => {
    channel.consume(queue, (message: any) => resolve(JSON.parse(message.content)), { noAck: true });
  });
  channel.publish('verification.requests', 'ts', Buffer.from(JSON.stringify(asked)), {
    persistent: true,
    replyTo: queue,
  });
  const result = await answer;
  const why: string | null = result.error === null ? null : result.error.kind;
  const said: string[] = [result.requestId ?? 'none', result.outcome, result.charged, why ?? 'ok'];
  console.log(said.join(' '), JSON.stringify(result.context));
  await connection.close();
}

declare const console: any;
main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
