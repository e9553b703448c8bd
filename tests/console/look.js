// Looks at pages in headless Chromium: node look.js < what.json
//
//   {"browser", "url", "headers", "folder", "pages": {name: path}, "id", "views": [{"name", "width",
//    "lang", "script"}]}
//
// Each page is opened in each view and saved as a picture. What axe-core finds, what the browser
// complains about and what is wider than the window goes to standard output, one JSON array. `id` is
// sent by the form that finds a person's requests; without scripts it is sent as well.
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");
const axe = require("axe-core");

async function check(page, where, view, found) {
  const wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth");
  if (wide) found.push(`${where}: wider than the window`);
  if (!view.script) return;
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate("axe.run()");
  for (const each of violations) {
    found.push(`${where}: ${each.id}: ${each.help}: ${each.nodes.map((node) => node.html).join(" ")}`);
  }
}

async function main() {
  const what = JSON.parse(fs.readFileSync(0, "utf8"));
  const found = [];
  const browser = await chromium.launch({
    executablePath: what.browser,
    timeout: 600_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  for (const view of what.views) {
    const context = await browser.newContext({
      viewport: { width: view.width, height: view.width > 600 ? 800 : 740 },
      locale: view.lang,
      javaScriptEnabled: view.script,
      extraHTTPHeaders: what.headers,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(600_000);
    page.on("console", (said) => {
      if (said.type() === "error") found.push(`${view.name}: ${said.text()}`);
    });
    const save = async (name) => {
      const where = `${name}-${view.name}`;
      await page.screenshot({ path: path.join(what.folder, `${where}.png`), fullPage: true });
      await check(page, where, view, found);
    };
    for (const [name, address] of Object.entries(what.pages)) {
      await page.goto(what.url + address);
      await save(name);
    }
    await page.goto(`${what.url}/requests`);
    await page.fill("[name=what]", what.id);
    await page.click("[action='/find'] button");
    if (page.url() !== `${what.url}/find`) found.push(`${view.name}: ${page.url()} is not /find`);
    await save("person");
    await context.close();
  }
  await browser.close();
  process.stdout.write(JSON.stringify(found));
}

main();
