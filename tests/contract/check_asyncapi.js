// Prints what AsyncAPI's own parser has to say of the document on standard input, as JSON.
const { Parser } = require('@asyncapi/parser');

async function main() {
  let text = '';
  for await (const piece of process.stdin) text += piece;
  const { document, diagnostics } = await new Parser().parse(text);
  const said = diagnostics.map(({ code, severity, message, path }) =>
    ({ code, severity, message, path: path.join('.') }));
  const operations = document ? document.operations().all().map((each) => each.id()) : [];
  process.stdout.write(JSON.stringify({ valid: document !== undefined, operations, said }));
}

main();
