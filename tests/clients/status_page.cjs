// The status page as people use it, in Debian's Chromium: MODE URL [FIXTURE | PID]. Prints what it found as one line of JSON.
//
//   look    both widths and colour schemes: axe-core, scrolling, what the console says, the keyboard, pausing
//   fixed   the same of a document that has everything, hostile names among it; and of one that has nothing
//   lost    what is said once the gate has gone, which this ends by its process id
const { chromium } = require("playwright-core");
const axe = require("fs").readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [mode, url, extra] = process.argv.slice(2);
const shown = (page) => page.waitForSelector("#all:not([hidden])", { timeout: 15000 });
const text = (page, selector) => page.textContent(selector);

async function visit(browser, found, route) {
  // The page's own policy lets no script in but its own; axe-core comes by the debugger, which it does not concern.
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("console", (message) => found.console.push(message.text()));
  page.on("pageerror", (error) => found.console.push(error.message));
  page.on("request", (request) => found.requests.add(new URL(request.url()).host + new URL(request.url()).pathname));
  if (route) await page.route("**/status.json", route);
  await page.goto(url);
  await shown(page);
  return page;
}

async function look(page, found) {
  for (const width of [360, 1280]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.evaluate(axe);
      const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const told = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).slice(0, 3).join(" ")}`);
      const scrolls = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      found.looks.push({ width, colorScheme, axe: told, rules: passes.length, scrolls, ground });
    }
  }
}

async function keyboard(page, found) {
  await page.keyboard.press("Tab");
  found.skip = await page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press("Enter");
  found.main = await page.evaluate(() => location.hash);
  await page.focus("#pause");
  await page.keyboard.press("Space");
  found.paused = await page.getAttribute("#pause", "aria-pressed");
  let asked = 0;
  page.on("request", () => (asked += 1));
  await page.waitForTimeout(3000);
  found.askedWhilePaused = asked;
  await page.keyboard.press("Space");
  const hide = (hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  await page.waitForTimeout(500);
  found.askedAfterPause = asked;
  await page.evaluate(hide, true);
  asked = 0;
  await page.waitForTimeout(3000);
  found.askedWhileHidden = asked;
  await page.evaluate(hide, false);
  await page.waitForTimeout(500);
  found.askedWhenShown = asked;
  if (await page.isVisible("#more")) {
    await page.focus("#more");
    await page.keyboard.press("Enter");
    found.allShown = await page.locator("#refusals > li").count();
    found.focusStays = await page.evaluate(() => document.activeElement.id);
  }
}

const modes = {
  async look(browser, found) {
    const page = await visit(browser, found);
    found.text = await page.evaluate(() => document.body.innerText);
    found.dom = await page.content();
    await look(page, found);
    await keyboard(page, found);
  },
  async fixed(browser, found) {
    const document_ = JSON.parse(require("fs").readFileSync(extra, "utf8"));
    const serve = (body) => (route) => route.fulfill({ json: body });
    const page = await visit(browser, found, serve(document_));
    await look(page, found);
    found.title = await page.title();
    found.scripts = await page.locator("script").count();
    found.images = await page.locator("img").count();
    found.links = await page.locator("main a").evaluateAll((links) => links.map((link) => link.href));
    found.text = await page.evaluate(() => document.body.innerText);
    const nothing = { contracts: [], violations: [], refusals: [], farEnds: [], deadLetters: [], spool: null, streams: [] };
    const empty = await visit(browser, found, serve({ ...document_, ...nothing }));
    found.emptyText = await empty.evaluate(() => document.body.innerText);
    const newer = await browser.newPage();
    await newer.route("**/status.json", serve({ ...document_, schema: "meshgate.status/v2" }));
    await newer.goto(url);
    await newer.waitForSelector("#lost:not([hidden])");
    found.newer = await text(newer, "#lost");
    const bare = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    await bare.goto(url);
    found.withoutScript = await bare.evaluate(() => document.body.innerText).catch(() => bare.innerText("body"));
  },
  async lost(browser, found) {
    const page = await visit(browser, found);
    process.kill(Number(extra), "SIGKILL");
    await page.waitForSelector("#lost:not([hidden])", { timeout: 15000 });
    found.lost = await text(page, "#lost");
    found.role = await page.getAttribute("#lost", "role");
    found.stays = await page.isVisible("#contracts");
    found.console = [];
  },
};

(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-quic", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const found = { looks: [], console: [], requests: new Set() };
  try {
    await modes[mode](browser, found);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify({ ...found, requests: [...found.requests] }));
})();
