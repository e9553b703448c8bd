// Prints what AsyncAPI's own parser has to say of the document on standard input, as JSON; what it
// refers to stands beside the file that is named.
const { Parser } = require('@asyncapi/parser');

async function main() {
  let text = '';
  for await (const piece of process.stdin) text += piece;
  const { document, diagnostics } = await new Parser().parse(text, { source: process.argv[2] });
  const said = diagnostics.map(({ code, severity, message, path }) =>
    ({ code, severity, message, path: path.join('.') }));
  const operations = document ? document.operations().all().map((each) => each.id()) : [];
  process.stdout.write(JSON.stringify({ valid: document !== undefined, operations, said }));
}

main();
