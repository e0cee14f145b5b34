// Makes the pictures of the README: the status page of a gate on the sample rules, under traffic, in light and dark.
//
//   cargo build && tests/tools/install && node docs/screenshot.cjs [MINUTES]      10 unless told; the trends fill by the minute
//
// The traffic is what `meshgate demo` sends, again and again with new ids and times, and worse for a while in the middle. It needs
// Debian's Chromium, and listens on free ports of 127.0.0.1.
"use strict";
const { execFileSync, spawn } = require("child_process");
const fs = require("fs");
const net = require("net");
const os = require("os");
const path = require("path");

const top = path.join(__dirname, "..");
const tools = process.env.MESHGATE_TOOLS || path.join(top, "target/tools");
const { chromium } = require(path.join(tools, "node_modules/playwright-core"));
const meshgate = process.env.MESHGATE || path.join(top, "target/debug/meshgate");
const minutes = Number(process.argv[2] || 10);
const home = fs.mkdtempSync(path.join(os.tmpdir(), "meshgate-screenshot-"));
const out = process.env.OUT || __dirname;

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const lines = (text) => text.split("\n").filter((line) => line !== "");
const run = (...args) => execFileSync(meshgate, args, { cwd: home, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] }).toString();

// What a demo forwarded, and what it refused, by stream.
function sample() {
  const data = path.join(home, "demo.db");
  run("demo", "--once", "--rules", "rules", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0");
  const streams = ["orders-events", "customers-events"];
  const good = streams.map((stream) => lines(run("tail", stream, "--from", "trim-horizon", "--raw", "--data", data)));
  const bad = streams.map(() => []);
  for (const event of lines(run("dlq", "export", "--original", "--data", data))) {
    bad[/customer/.test(event) ? 1 : 0].push(event);
  }
  return streams.map((stream, index) => ({ stream, good: good[index], bad: bad[index] }));
}

let serial = 0;
// A producer's event of now: its own id and times, and an order's events by the order.
const keyed = (event) => event.replace(/^(\s*\{)(.*"orderId"\s*:\s*("[^"]*").*)$/, '$1"partitionkey":$3,$2');
const renewed = (event, now) =>
  keyed(event).replace(/("id"\s*:\s*)"[^"]*"/, (_, name) => `${name}"shot-${(serial += 1)}"`).replace(/"20\d\d-\d\d-\d\dT[\d:.]+Z"/g, `"${now}"`);
const pick = (list) => list[Math.floor(Math.random() * list.length)];

async function send(port, sampled, share) {
  const now = new Date(Date.now() - 500).toISOString();
  for (const { stream, good, bad } of sampled) {
    const count = 20 + Math.round(15 * Math.sin(Date.now() / 90000) + 10 * Math.random());
    const events = Array.from({ length: count }, () => renewed(pick(Math.random() < share ? bad : good), now));
    const url = `http://127.0.0.1:${port}/v1/streams/${stream}/events`;
    await fetch(url, { method: "POST", headers: { "content-type": "application/x-ndjson" }, body: events.join("\n") + "\n" });
  }
}

async function shoot(address) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-quic"] });
  for (const [name, colorScheme] of [["status.png", "light"], ["status-dark.png", "dark"]]) {
    const page = await browser.newPage({ viewport: { width: 1000, height: 1000 }, colorScheme });
    await page.goto(address);
    await page.waitForSelector("#all:not([hidden])");
    // Down to the first rows of what is wrong most.
    const end = await page.locator("#violations tbody tr").nth(1).boundingBox();
    await page.screenshot({ path: path.join(out, name), fullPage: true, clip: { x: 0, y: 0, width: 1000, height: end.y + end.height } });
    await page.close();
  }
  await browser.close();
}

let isStopped = false;
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => (isStopped = true));

(async () => {
  // The gate names its rules as it was told to find them.
  fs.symlinkSync(path.join(top, "rules"), path.join(home, "rules"));
  const sampled = sample();
  const [port, admin] = [await freePort(), await freePort()];
  const args = ["run", "--rules", "rules", "--data", path.join(home, "gate.db"), "--listen", `127.0.0.1:${port}`, "--admin", `127.0.0.1:${admin}`];
  const gate = spawn(meshgate, args, { cwd: home, stdio: "ignore" });
  try {
    for (let tries = 0; !(await fetch(`http://127.0.0.1:${admin}/ready`).catch(() => null)); tries += 1) {
      if (tries > 100) throw new Error("the gate did not start");
      await pause(100);
    }
    const started = Date.now();
    const part = () => (Date.now() - started) / (minutes * 60000);
    while (part() < 1 && !isStopped) {
      const isWorse = part() > 0.45 && part() < 0.65;
      await send(port, sampled, isWorse ? 0.06 : 0.0025);
      await pause(900);
    }
    if (!isStopped) await shoot(`http://127.0.0.1:${admin}/`);
  } finally {
    gate.kill("SIGTERM");
    await new Promise((resolve) => gate.once("exit", resolve));
    fs.rmSync(home, { recursive: true });
  }
})();
