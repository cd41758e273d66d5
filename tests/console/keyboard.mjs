// From signing in to an item of a query, with Tab, arrows, letters and Enter alone.
import assert from 'node:assert/strict'
import { SITE, WAIT, withPage } from './browser.mjs'

// Press Tab until what has the focus has this name; every stop on the way must be visible.
async function tabTo (page, name, most = 60) {
  const seen = []
  for (let n = 0; n < most; n++) {
    await page.keyboard.press('Tab')
    const at = await page.evaluate(() => {
      const element = document.activeElement
      const style = getComputedStyle(element)
      const label = element.labels?.[0]?.innerText
      return {
        name: (element.getAttribute('aria-label') ?? label ?? element.innerText ?? '').trim(),
        outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        tag: element.tagName,
      }
    })
    if (at.tag === 'BODY') continue
    assert.ok(at.outlined, `the focus cannot be seen on ${at.tag} ${at.name}`)
    if (at.name === name) return
    seen.push(at.name)
  }
  assert.fail(`no Tab leads to ${name}: ${seen.join(' | ')}`)
}

async function follow (page, name, address) {
  await tabTo(page, name)
  await Promise.all([page.waitForURL(address, { timeout: WAIT }), page.keyboard.press('Enter')])
}

await withPage(async (page) => {
  await page.goto(`${SITE}/tables`) // leads to the form, and back here
  assert.equal(await page.evaluate(() => document.activeElement.id), 'access_key_id')
  await page.keyboard.type(process.env.CONSOLE_KEY)
  await tabTo(page, 'Secret access key')
  await page.keyboard.type(process.env.CONSOLE_SECRET)
  await Promise.all([page.waitForURL(`${SITE}/tables`), page.keyboard.press('Enter')])

  // The first stop of a page leads past its navigation.
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate(() => document.activeElement.innerText), 'Skip to the content')
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main')

  await follow(page, 'orders', '**/tables/orders')
  await follow(page, 'Query', '**/tables/orders/items')
  await tabTo(page, 'id (S)')
  await page.keyboard.type('ann')
  await tabTo(page, 'at (S) is')
  await page.keyboard.type('between')
  await tabTo(page, 'at: value')
  await page.keyboard.type('02')
  await tabTo(page, 'and, of between')
  await page.keyboard.type('06')
  await Promise.all([page.waitForURL('**hash0=ann**'), page.keyboard.press('Enter')])
  assert.equal(await page.locator('#result').innerText(), 'Query: 2 items')
  await follow(page, 'ann', '**/tables/orders/item?key=**')
  assert.equal(await page.locator('h1').innerText(), 'ann / 03')

  // Changed and saved, by the keyboard too.
  await tabTo(page, 'DynamoDB JSON')
  await page.keyboard.press('Control+A')
  await page.keyboard.insertText(
    '{"id": {"S": "ann"}, "at": {"S": "03"}, "price": {"N": "3"}, "typed": {"BOOL": true}}')
  await follow(page, 'Save', '**saved=saved')
  assert.match(await page.locator('main').innerText(), /Saved\./)
  await follow(page, 'Sign out', '**/sign-in')
})
console.log('all of it works')
