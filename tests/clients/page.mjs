// The page in a real browser (Debian's chromium), on a desktop and a phone, light and dark.
//
//   npm install --prefix /tmp/pw playwright-core
//   LOCO=target/release/loco NODE_PATH=/tmp/pw/node_modules SHOTS=/tmp/shots node tests/clients/page.mjs
//
// Screenshots go to $SHOTS to be looked at.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(import.meta.url)("playwright-core");

const shots = process.env.SHOTS ?? "/tmp/loco-shots";
mkdirSync(shots, { recursive: true });

// The slowest kernels: an answer must last long enough to be stopped.
const server = spawn(process.env.LOCO ?? "target/release/loco", ["serve", "--port", "0", "--isa", "scalar", "--threads", "1"]);
const url = await new Promise((found) => {
  server.stdout.on("data", (text) => {
    const address = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
    if (address) found(address[0]);
  });
});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const DEVICES = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 375, height: 667 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
};

/** Opens the page; anything it complains about, or asks of another host, fails the test. */
async function open(device, colorScheme) {
  const context = await browser.newContext({ ...DEVICES[device], colorScheme });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  await page.getByText("demo · 1.58-bit").waitFor();
  const shot = (name) => page.screenshot({ path: `${shots}/${device}-${colorScheme}-${name}.png` });
  const question = page.getByLabel("Your question");
  const answered = (n) => page.locator(".theirs .figures").nth(n - 1).waitFor();
  return { context, page, complaints, shot, question, answered };
}

/** Holds back the server's answers, or makes them fail, as `handle` says. */
const answers = (page, handle) => page.route("**/v1/chat/completions", handle);

async function converses(device, colorScheme) {
  const { context, page, complaints, shot, question, answered } = await open(device, colorScheme);
  await shot("1-welcome");
  assert.equal(await page.evaluate(() => document.activeElement.id), "question");

  await page.getByRole("button", { name: "What is the capital of France?" }).click();
  await answered(1);
  assert.equal(await page.locator(".theirs .text").first().textContent(), "The capital of France is Paris.");
  assert.equal(await page.getByRole("log").getAttribute("aria-busy"), "false");

  await question.fill("Hi, my name is Omar.");
  if (device === "phone") await page.getByRole("button", { name: "Send" }).click();
  else await question.press("Enter");
  await answered(2);
  await question.fill("What is my name?");
  await page.getByRole("button", { name: "Send" }).click();
  await answered(3);
  assert.equal(await page.locator(".theirs .text").nth(2).textContent(), "Your name is Omar.", "earlier turns are sent along");
  await shot("2-conversation");

  // Text that looks like HTML stays text, also right-to-left text.
  await question.fill("<img src=x onerror=alert(1)> <b>bold</b>\nمرحبا بالعالم");
  await page.getByRole("button", { name: "Send" }).click();
  await answered(4);
  assert.equal(await page.locator(".mine img, .mine b").count(), 0);

  for (let i = 5; i < 9; i++) {
    await question.fill("Tell me a story about Anna and a fox.");
    await page.getByRole("button", { name: "Send" }).click();
    await answered(i);
  }
  const atEnd = () => page.evaluate(() => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight);
  assert.ok(await atEnd() < 5, "the newest answer is in view");
  await page.evaluate(() => { scroll.scrollTop = 0; });
  await page.getByRole("button", { name: "Jump to the latest" }).waitFor();
  await shot("3-scrolled-up");
  await page.getByRole("button", { name: "Jump to the latest" }).click();
  assert.ok(await atEnd() < 5);

  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.ok(!wide, "the page does not scroll sideways");
  const small = await page.evaluate(() => [...document.querySelectorAll("button")]
    .filter((b) => b.checkVisibility() && (b.getBoundingClientRect().height < 44 || b.getBoundingClientRect().width < 44))
    .map((b) => b.textContent || b.ariaLabel));
  assert.deepEqual(small, [], "buttons are large enough for fingers");

  await page.getByRole("button", { name: "New chat" }).click();
  assert.equal(await page.locator(".message").count(), 0);
  await page.getByRole("heading", { name: "Ask me something" }).waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
}

async function stopsAndRecovers(device, colorScheme) {
  const { context, page, shot, question, answered } = await open(device, colorScheme);
  // An endless answer, so that there is something to stop.
  await answers(page, async (route) => {
    const body = { ...route.request().postDataJSON(), logit_bias: { 1: -100 } };
    await route.continue({ postData: JSON.stringify(body) });
  });
  await question.fill("Tell me a story about Anna and a fox.");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".theirs .text").filter({ hasText: /\w+ \w+/ }).waitFor();
  assert.equal(await page.getByRole("log").getAttribute("aria-busy"), "true");
  await page.getByRole("button", { name: "Stop the answer" }).click();
  await page.getByText("Stopped.").waitFor();
  assert.equal(await page.getByRole("log").getAttribute("aria-busy"), "false");
  let live;
  for (let i = 0; i < 500 && live !== 0; i++) live = (await (await fetch(`${url}/health`)).json()).live;
  assert.equal(live, 0, "the server stops too");
  await question.fill("Tell me a story about Anna and a fox.");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".theirs .text").nth(1).filter({ hasText: /\w+ \w+/ }).waitFor();
  await shot("4-writing");
  // A new chat leaves the answer under way behind.
  await page.getByRole("button", { name: "New chat" }).click();
  assert.equal(await page.locator(".message").count(), 0);
  assert.ok(await page.getByRole("button", { name: "Send" }).isVisible());

  // A full queue, and a server that is gone, are told kindly and can be tried again.
  await page.unroute("**/v1/chat/completions");
  await answers(page, (route) => route.fulfill({ status: 429, headers: { "retry-after": "3" }, body: "{}" }));
  await question.fill("What is the capital of France?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("alert").getByText("try again in 3 seconds").waitFor();
  await page.unroute("**/v1/chat/completions");
  await answers(page, (route) => route.abort());
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("alert").getByText("does not answer").waitFor();
  await shot("5-error");
  await page.unroute("**/v1/chat/completions");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("The capital of France is Paris.").waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await context.close();
}

async function composesLines() {
  const { context, page, question } = await open("desktop", "light");
  await question.fill("one");
  await question.press("Shift+Enter");
  await question.pressSequentially("two");
  assert.equal(await question.inputValue(), "one\ntwo");
  // Enter that confirms a word of an input method does not send.
  await question.dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true });
  assert.equal(await page.locator(".mine").count(), 0);
  await question.fill("   ");
  assert.ok(await page.getByRole("button", { name: "Send" }).isDisabled());
  await context.close();
}

try {
  for (const device of Object.keys(DEVICES)) {
    for (const colorScheme of ["light", "dark"]) {
      await converses(device, colorScheme);
      await stopsAndRecovers(device, colorScheme);
      console.log(`ok: ${device}, ${colorScheme}`);
    }
  }
  await composesLines();
  console.log("ok: composing");
} finally {
  await browser.close();
  server.kill("SIGTERM");
}
