// What the script does: lines of lag, the progress of a job; and what no script of an item may do.
import assert from 'node:assert/strict'
import { signIn, SITE, withPage } from './browser.mjs'

await withPage(async (page, errors) => {
  page.on('dialog', () => assert.fail('a script of an item has run'))
  await signIn(page)

  // 1. Lines of how far indexes are behind, with their text for screen readers.
  await page.goto(`${SITE}/lag`)
  const line = page.locator('[data-spark="orders.by_name"] polyline')
  const points = async () => (await line.getAttribute('points')).split(' ').length
  assert.equal(await points(), 1)
  await page.waitForFunction(() =>
    document.querySelector('[data-spark="orders.by_name"] polyline')
      .getAttribute('points').split(' ').length >= 3)
  assert.match(await page.locator('[data-spark="orders.by_name"] svg').getAttribute('aria-label'),
    /^now [\d.]+ s behind, at most [\d.]+ in the last 2 minutes$/)
  assert.match(await page.locator('#lag-status').textContent(), /^Furthest behind: orders\.by_name/)

  // 1b. A console that is away is said, and what it showed stays.
  await page.route('**/lag/figures', (route) => route.abort())
  await page.getByRole('alert').getByText('The console does not answer').waitFor()
  assert.equal(await line.count(), 1)
  await page.unroute('**/lag/figures')
  await page.getByRole('alert').waitFor({ state: 'detached' })
  assert.ok(errors.length > 0)
  errors.splice(0).forEach((error) => assert.match(error, /ERR_FAILED/))

  // 2. What has the focus keeps it when a part is renewed.
  await page.goto(`${SITE}/`)
  await page.locator('#to-letters').focus()
  await page.locator('#to-letters').evaluate((one) => { one.dataset.old = '1' })
  await page.evaluate(() => { document.querySelector('[data-refresh]').dataset.shown = 'old' })
  await page.waitForFunction(() => !document.querySelector('#to-letters').dataset.old)
  assert.equal(await page.evaluate(() => document.activeElement.id), 'to-letters')

  // 3. A job, from its beginning to its verdict, on one page.
  await page.goto(`${SITE}/tables/orders/comparison`)
  await page.getByLabel('Rows per second').fill('25')
  await page.getByRole('button', { name: 'Verify' }).click()
  await page.locator('progress').waitFor()
  await page.evaluate(() => { window.loadedOnce = true })
  await page.locator('[data-ended]').waitFor({ timeout: 60_000 })
  assert.match(await page.locator('[data-ended]').innerText(), /CLEAN: orders/)
  assert.equal(await page.evaluate(() => window.loadedOnce), true)
  assert.match(await page.locator('#job-status').textContent(), /^done: CLEAN: orders/)

  // 4. An item whose name, key and values are scripts.
  await page.goto(`${SITE}/tables/orders/items?limit=100`)
  await page.getByRole('link', { name: '<script>' }).click()
  await page.waitForURL('**/item?**')
  assert.match(await page.locator('h1').innerText(), /<script>alert\(1\)<\/script>/)
  await page.waitForTimeout(500)

  // 5. The policy of the page keeps even a script that got into it from being run.
  await page.evaluate(() => {
    const script = document.createElement('script')
    script.textContent = 'window.hasRun = true'
    document.body.append(script)
  })
  assert.equal(await page.evaluate(() => window.hasRun), undefined)
  assert.equal(errors.length, 1)
  assert.match(errors.pop(), /inline script violates .* Content Security Policy/)
})

// Without script: the same figures, and a job that ends is seen.
await withPage(async (page) => {
  await signIn(page)
  await page.goto(`${SITE}/lag`)
  assert.match(await page.getByRole('row', { name: /orders\.by_name/ }).innerText(), /\d\.\d s/)
  assert.equal(await page.locator('.spark').first().isVisible(), false)
  await page.goto(`${SITE}/tables/orders/comparison`)
  await page.getByLabel('Rows per second').fill('25')
  await page.getByRole('button', { name: 'Verify' }).click()
  await page.getByText('running').waitFor()
  await page.getByText('CLEAN: orders').waitFor({ timeout: 60_000 })
}, { javaScriptEnabled: false })
console.log('all of it works')
