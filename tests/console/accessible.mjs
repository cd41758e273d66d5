// axe-core on every page, in light and dark, and whether pages fit a narrow window.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { signIn, SITE, withPage } from './browser.mjs'

const AXE = readFileSync('node_modules/axe-core/axe.min.js', 'utf8')
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const QUERY = '/tables/orders/items?hash0=ann&limit=25&filter=price&filter_is=%3E&filter_type=N&filter_value=1'
const PATHS = ['/', '/tables', '/tables/orders', QUERY, '/tables/orders/items?hash0=&is0=%3D&sort0=1&limit=25',
  '/tables/orders/new-item', '/lag', '/comparisons', '/tables/orders/comparison', '/dead-letters',
  '/transactions', '/streams', '/tables/nothing']

async function check (page, path) {
  await page.evaluate(AXE) // past the page's policy, as an extension would
  const found = await page.evaluate((tags) => axe.run(document, { runOnly: tags }), RULES)
  const told = found.violations.map((each) => `${each.id}: ${each.help}: ` +
    each.nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; '))
  assert.deepEqual(told, [], path)
  assert.ok(found.passes.length > 10, `${path}: axe looked at nothing`)
  const [wanted, there] = await page.evaluate(() =>
    [document.documentElement.scrollWidth, document.documentElement.clientWidth])
  assert.ok(wanted <= there, `${path} is ${wanted} wide in a window of ${there}`)
}

for (const options of [
  { viewport: { width: 1200, height: 800 }, colorScheme: 'light' },
  { viewport: { width: 400, height: 800 }, colorScheme: 'dark' },
]) {
  await withPage(async (page, errors) => {
    await page.goto(`${SITE}/sign-in`)
    await check(page, '/sign-in')
    await signIn(page)
    for (const path of PATHS) {
      await page.goto(SITE + path)
      await check(page, path)
    }
    await page.goto(SITE + QUERY)
    await page.locator('.items a').first().click()
    await page.waitForURL('**/item?**')
    await check(page, 'an item')
    // Pages that say 400 and 404 are meant to.
    errors.splice(0, errors.length, ...errors.filter((one) => !/status of 40[04]/.test(one)))
  }, options)
}

// The same check finds what is wrong.
await withPage(async (page) => {
  await signIn(page)
  await page.goto(`${SITE}/tables`)
  await page.locator('main').evaluate((main) => main.append(document.createElement('input')))
  await assert.rejects(check(page, 'spoilt'), /label: Form elements must have labels/)
})
console.log('all of it works')
