// Pictures of the main pages into a folder: node pictures.mjs FOLDER
import { join } from 'node:path'
import { ITEMS, signIn, SITE, withPage } from './browser.mjs'

const folder = process.argv[2]
const HIGHEST = 900
const wide = { viewport: { width: 1180, height: 760 } }

async function picture (page, name, path, before = async () => {}) {
  await page.goto(SITE + path)
  await before(page)
  const height = await page.evaluate(() => document.body.scrollHeight)
  const { width } = page.viewportSize()
  const clip = { x: 0, y: 0, width, height: Math.min(height, HIGHEST) }
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, clip })
}

async function openItem (page) {
  await page.locator('.items a').first().click()
  await page.waitForURL('**/item?**')
}

await withPage(async (page) => {
  await picture(page, 'sign-in', '/sign-in')
  await signIn(page)
  await picture(page, 'overview', '/')
  await picture(page, 'table', '/tables/orders')
  await picture(page, 'query', ITEMS)
  await picture(page, 'item', ITEMS, openItem)
  await picture(page, 'lag', '/lag', (one) => one.waitForTimeout(40_000)) // for a line to be seen
  await picture(page, 'verify', '/tables/orders/comparison', async (one) => {
    await one.getByRole('button', { name: 'Verify' }).click()
    await one.locator('[data-ended]').waitFor()
  })
  await picture(page, 'dead-letters', '/dead-letters')
}, wide)
await withPage(async (page) => {
  await signIn(page)
  await picture(page, 'overview-dark', '/')
}, { ...wide, colorScheme: 'dark' })
await withPage(async (page) => {
  await signIn(page)
  await picture(page, 'query-narrow', ITEMS)
}, { viewport: { width: 400, height: 760 } })
console.log('all of it works')
