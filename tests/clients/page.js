// Opens the live page in a real browser while a server is under load, and checks what a person would
// see: every plot is drawn, numbers are there and move, nothing is an error, keys are text and not
// markup, and a page that nobody sees asks for nothing.
//
// Arguments: the browser, the address of the page, seconds to look, a file for the picture ('' for
// none), 'light' or 'dark'. Ends with an error if anything is not as it should be.
'use strict';

const assert = require('node:assert/strict');
const { setTimeout } = require('node:timers/promises');
const { chromium } = require('playwright-core');

const [executablePath, url, seconds, picture, scheme] = process.argv.slice(2);
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

async function main() {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: scheme });
    const errors = [], requests = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(url);
    const samples = () => page.evaluate(() => Number(document.body.dataset.samples ?? 0));
    await page.waitForFunction((wanted) => Number(document.body.dataset.samples) >= wanted, Number(seconds),
      { timeout: 60_000 + 2_000 * Number(seconds) });
    if (picture) await page.screenshot({ path: picture });

    assert.equal(await page.textContent('#state'), 'live');
    for (const id of ['rate', 'time', 'memory', 'load', 'connections', 'commands', 'hot', 'slow']) {
      const svg = page.locator(`#${id} svg`);
      assert.equal(await svg.count(), 1, `#${id} has no picture`);
      const marks = await svg.locator('path[d^="M"], rect, circle').count();
      assert.ok(marks > 0, `#${id} is empty`);
      const markup = await svg.innerHTML();
      assert.ok(!/NaN|undefined|Infinity/.test(markup), `#${id}: ${markup}`);
    }
    assert.match(await page.textContent('#rate-now'), /^[1-9]/);
    assert.match(await page.textContent('#time-now'), /(ns|\u00b5s|ms)/);
    assert.match(await page.textContent('#connections-now'), /^[1-9]/);
    const hot = await page.textContent('#hot');
    assert.ok(hot.includes('<b>hot</b>'), hot);
    assert.equal(await page.locator('#hot b').count(), 0, 'a key was taken for markup');
    assert.ok((await page.textContent('#slow')).includes('LCS a'), 'the slow command is not named');

    // With slowlog-log-slower-than 0 there are commands that took no microsecond.
    const drawn = page.evaluate(() => {
      last.slow = [{ id: 1, at_s: last.at_ms / 1000, us: 0, command: 'PING', client: '' }];
      drawSlow();
      return document.querySelector('#slow svg').innerHTML;
    });
    const quick = await Promise.race([drawn, setTimeout(10_000, 'the page hangs', { ref: false })]);
    assert.ok(quick.includes('PING') && !/NaN|Infinity/.test(quick), quick);

    // A server whose host's clock was set back is shown from then on.
    const ahead = await page.evaluate(() => last.at_ms += 3_600_000);
    await page.waitForTimeout(2_500);
    assert.ok(await page.evaluate(() => last.at_ms) < ahead, 'the page stands still');

    const host = new URL(url).host;
    assert.ok(requests.every((asked) => new URL(asked).host === host || asked.startsWith('data:')), requests.join(' '));

    // Hidden, it pauses; seen again, it goes on.
    const see = (isHidden) => page.evaluate((isHidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, isHidden);
    await see(true);
    await page.waitForFunction(() => document.getElementById('state').textContent === 'paused');
    const before = requests.length;
    await page.waitForTimeout(2_500);
    assert.equal(requests.length, before, 'a hidden page asks');
    await see(false);
    const seen = await samples();
    await page.waitForFunction((seen) => Number(document.body.dataset.samples) > seen, seen);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
