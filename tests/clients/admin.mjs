// dynamodb-admin, used in a browser; test_javascript.py runs it: node admin.mjs PATH-OF-CHROMIUM
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateTableCommand, DeleteTableCommand, DynamoDBClient, PutItemCommand, waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { chromium } from 'playwright-core'
import { until } from './until.mjs'

const WAIT = 60_000
const endpoint = process.env.DYNAMO_ENDPOINT
const client = new DynamoDBClient({ endpoint })
const TableName = `books-${randomUUID().slice(0, 8)}`
await client.send(new CreateTableCommand({
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'isbn', AttributeType: 'S' }, { AttributeName: 'author', AttributeType: 'S' },
  ],
  KeySchema: [{ AttributeName: 'isbn', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [{
    IndexName: 'by_author',
    KeySchema: [{ AttributeName: 'author', KeyType: 'HASH' }],
    Projection: { ProjectionType: 'ALL' },
  }],
}))
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName })
for (const [isbn, author] of [['1', 'Lem'], ['2', 'Lem'], ['3', 'Le Guin']]) {
  await client.send(new PutItemCommand({
    TableName, Item: { isbn: { S: isbn }, author: { S: author } },
  }))
}

const port = await freePort()
const admin = spawn(process.execPath, [
  'node_modules/dynamodb-admin/dist/dynamodb-admin.js',
  '--host', '127.0.0.1', '--port', String(port), '--dynamo-endpoint', endpoint,
], { stdio: 'inherit' })
const profile = mkdtempSync(join(tmpdir(), 'chromium-'))
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.argv[2],
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-first-run'],
})
try {
  const page = await browser.newPage()
  page.setDefaultTimeout(WAIT)
  const site = `http://127.0.0.1:${port}`
  await until(() => page.goto(site).then(() => true, () => false), 'dynamodb-admin did not start')

  // 1. The list of tables.
  await page.getByRole('link', { name: TableName }).first().click()

  // 2. The items of one.
  assert.deepEqual(await shown(page, 3), ['1', '2', '3'])

  // 3. A new item.
  await page.goto(`${site}/tables/${TableName}/add-item`)
  await page.evaluate((item) => globalThis.editor?.setValue(item) ?? ace.edit('documentTextarea')
    .setValue(item), JSON.stringify({ isbn: '4', author: 'Lem', pages: 204 }))
  await page.locator('#saveButton').click()
  await page.waitForURL(`**/tables/${TableName}/items/**`)
  await page.goto(`${site}/tables/${TableName}`)
  assert.deepEqual(await shown(page, 4), ['1', '2', '3', '4'])

  // 4. A query of the index, which has the new item a moment later.
  await page.goto(`${site}/tables/${TableName}`)
  await page.locator('select[name=operationType]').selectOption('query')
  await page.locator('select[name=queryableSelection]').selectOption('by_author')
  await page.locator('.filter-row-value').last().fill('Lem')
  await page.getByRole('button', { name: 'Search' }).click()
  await page.waitForURL('**by_author**')
  await until(async () => {
    await page.reload()
    return (await shown(page, 3).catch(() => [])).length === 3
  }, 'the index does not show the new item')
  assert.deepEqual(await shown(page, 3), ['1', '2', '4'])
} finally {
  await browser.close()
  rmSync(profile, { recursive: true, force: true })
  admin.kill()
}
await client.send(new DeleteTableCommand({ TableName }))
console.log('all of it works')

// The keys of the items on the page, sorted, once there are so many.
async function shown (page, count) {
  const rows = page.locator('.items-table tbody tr')
  await rows.nth(count - 1).waitFor({ timeout: 5_000 })
  const keys = await rows.evaluateAll((all) => all.map((row) => row.cells[1].innerText))
  return keys.map((key) => JSON.parse(key)).sort()
}

async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}
