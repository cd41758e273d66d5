// Chromium before the console; the scripts beside it use it. test_console_in_browser.py runs them.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

export const SITE = process.env.CONSOLE_SITE
export const WAIT = 30_000
export const ITEMS = '/tables/orders/items?index=by_status&hash0=open&is0=%3E&sort0=0&and0=&limit=25'

// Run `work` with a page; all that its scripts log as errors, or throw, fails it.
export async function withPage (work, options = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'))
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CONSOLE_CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-first-run'],
    ...options,
  })
  const errors = []
  try {
    const page = await browser.newPage()
    page.setDefaultTimeout(WAIT)
    page.on('pageerror', (error) => errors.push(`${page.url()}: ${error}`))
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(`${page.url()}: ${message.text()}`)
    })
    await work(page, errors)
  } finally {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  }
  if (errors.length) throw new Error(errors.join('\n'))
}

export async function signIn (page) {
  await page.goto(`${SITE}/sign-in`)
  await page.getByLabel('Access key id').fill(process.env.CONSOLE_KEY)
  await page.getByLabel('Secret access key').fill(process.env.CONSOLE_SECRET)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.waitForURL(`${SITE}/`)
}
