// A program that uses ElectroDB; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  CreateTableCommand, DeleteTableCommand, DynamoDBClient, waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { Entity, Service } from 'electrodb'
import { until } from './until.mjs'

const client = new DynamoDBClient({ endpoint: process.env.DYNAMO_ENDPOINT })
const table = `projects-${randomUUID().slice(0, 8)}`
const schema = (hash, range) => [
  { AttributeName: hash, KeyType: 'HASH' }, { AttributeName: range, KeyType: 'RANGE' },
]
await client.send(new CreateTableCommand({
  TableName: table,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: ['pk', 'sk', 'gsi1pk', 'gsi1sk'].map((AttributeName) => (
    { AttributeName, AttributeType: 'S' })),
  KeySchema: schema('pk', 'sk'),
  GlobalSecondaryIndexes: [{
    IndexName: 'gsi1', KeySchema: schema('gsi1pk', 'gsi1sk'), Projection: { ProjectionType: 'ALL' },
  }],
}))
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName: table })

const Task = new Entity({
  model: { entity: 'task', version: '1', service: 'work' },
  attributes: {
    project: { type: 'string', required: true },
    number: { type: 'number', required: true, padding: { length: 4, char: '0' } },
    person: { type: 'string', required: true },
    state: { type: ['open', 'done'], default: 'open' },
    points: { type: 'number', default: 0 },
    labels: { type: 'set', items: 'string' },
    notes: { type: 'list', items: { type: 'map', properties: { by: { type: 'string' } } } },
    changed: { type: 'number', watch: '*', set: () => Date.now(), readOnly: false },
  },
  indexes: {
    task: {
      collection: 'project',
      pk: { field: 'pk', composite: ['project'] },
      sk: { field: 'sk', composite: ['number'] },
    },
    assigned: {
      index: 'gsi1',
      collection: 'duties',
      pk: { field: 'gsi1pk', composite: ['person'] },
      sk: { field: 'gsi1sk', composite: ['state', 'number'] },
    },
  },
}, { client, table })
const Person = new Entity({
  model: { entity: 'person', version: '1', service: 'work' },
  attributes: {
    person: { type: 'string', required: true }, project: { type: 'string', required: true },
  },
  indexes: {
    member: {
      collection: 'project',
      pk: { field: 'pk', composite: ['project'] },
      sk: { field: 'sk', composite: ['person'] },
    },
    self: {
      index: 'gsi1',
      collection: 'duties',
      pk: { field: 'gsi1pk', composite: ['person'] },
      sk: { field: 'gsi1sk', composite: [] },
    },
  },
}, { client, table })
const work = new Service({ Task, Person })

// One item.
const key = { project: 'roof', number: 1 }
await Task.create({ ...key, person: 'ann', labels: ['wood'], notes: [{ by: 'bob' }] }).go()
await assert.rejects(Task.create({ ...key, person: 'bob' }).go(), /conditional request failed/)
await assert.rejects(Task.patch({ project: 'roof', number: 9 }).set({ points: 1 }).go(),
  /conditional request failed/)
await Task.patch(key).set({ 'notes[0].by': 'cid' }).go()
const { data: patched } = await Task.patch(key).add({ points: 3, labels: ['high'] })
  .append({ notes: [{ by: 'dan' }] }).where(({ person }, { eq }) => eq(person, 'ann'))
  .go({ response: 'all_new' })
assert.deepEqual([patched.points, patched.labels.sort(), patched.notes],
  [3, ['high', 'wood'], [{ by: 'cid' }, { by: 'dan' }]])
await assert.rejects(
  Task.update(key).subtract({ points: 5 }).where(({ points }, { gte }) => gte(points, 5)).go(),
  /conditional request failed/)
await Task.update(key).data(({ points, labels }, { subtract, del }) => {
  subtract(points, 1)
  del(labels, ['wood'])
}).go()
const { data: got } = await Task.get(key).go({ consistent: true })
assert.deepEqual([got.points, got.labels], [2, ['high']])
const { data: upserted } = await Task.upsert({ ...key, person: 'ann', state: 'done' })
  .go({ response: 'all_new' })
assert.deepEqual([upserted.state, upserted.points], ['done', 0])

// Many items.
const tasks = Array.from({ length: 40 }, (_, number) => ({
  project: 'wall', number, person: 'bob', state: number % 2 ? 'open' : 'done',
}))
assert.deepEqual((await Task.put(tasks).go({ concurrency: 2 })).unprocessed, [])
await Person.put([{ person: 'bob', project: 'wall' }, { person: 'cid', project: 'wall' }]).go()
const many = await Task.get(Array.from({ length: 120 }, (_, number) => ({ project: 'wall', number })))
  .go({ concurrency: 2 })
assert.equal(many.data.length, 40)
const numbers = []
let cursor = null
do {
  const page = await Task.query.task({ project: 'wall' }).between({ number: 5 }, { number: 34 })
    .go({ cursor, limit: 8, order: 'desc' })
  numbers.push(...page.data.map((task) => task.number))
  cursor = page.cursor
} while (cursor !== null)
assert.deepEqual(numbers, Array.from({ length: 30 }, (_, n) => 34 - n))
const { data: project } = await work.collections.project({ project: 'wall' }).go({ pages: 'all' })
assert.deepEqual([project.Task.length, project.Person.length], [40, 2])
await until(async () => {
  const { data: duties } = await work.collections.duties({ person: 'bob' }).go({ pages: 'all' })
  return duties.Task.length === 40 && duties.Person.length === 1
})
const open = await Task.query.assigned({ person: 'bob', state: 'open' })
  .where(({ number }, { lt }) => lt(number, 10)).go()
assert.equal(open.data.length, 5)
const scanned = await Task.scan.where(({ state }, { eq }) => eq(state, 'open')).go({ pages: 'all' })
assert.equal(scanned.data.length, 20)

// Transactions, of items of several hash keys.
const members = [['eve', 'shed'], ['fay', 'barn']].map(([person, project]) => ({ person, project }))
const hired = await work.transaction.write(({ Task, Person }) => [
  ...members.map((member) => Person.create(member).commit()),
  Task.create({ project: 'shed', number: 1, person: 'eve' }).commit(),
  Task.patch({ project: 'wall', number: 1 }).add({ points: 2 }).commit(),
  Task.delete({ project: 'wall', number: 2 }).commit(),
  Person.check({ person: 'bob', project: 'wall' }).where(({ person }, { exists }) => exists(person)).commit(),
]).go()
assert.equal(hired.canceled, false)
const fired = await work.transaction.write(({ Task, Person }) => [
  Person.remove(members[0]).commit(),
  Task.create({ project: 'shed', number: 1, person: 'fay' }).commit({ response: 'all_old' }),
  Person.check({ person: 'nobody', project: 'wall' }).where(({ person }, { exists }) => exists(person)).commit(),
]).go()
assert.equal(fired.canceled, true)
assert.deepEqual(fired.data.map(({ rejected, code }) => [rejected, code]),
  [[false, 'None'], [true, 'ConditionalCheckFailed'], [true, 'ConditionalCheckFailed']])
assert.equal(fired.data[1].item.person, 'eve')
const token = randomUUID()
let once // the same request: another one would have another time in `changed`
for (const _ of [1, 2]) {
  await work.transaction.write(({ Task }) => (once ??= [
    Task.patch({ project: 'shed', number: 1 }).add({ points: 1 }).commit(),
    Task.patch({ project: 'wall', number: 1 }).add({ points: 1 }).commit(),
  ])).go({ token })
}
await assert.rejects(work.transaction.write(({ Task }) => [
  Task.patch({ project: 'shed', number: 1 }).add({ points: 1 }).commit(),
]).go({ token }), /idempotent token that was already used/)
const { data: seen } = await work.transaction.get(({ Task, Person }) => [
  Task.get({ project: 'shed', number: 1 }).commit(),
  Task.get({ project: 'wall', number: 1 }).commit(),
  Task.get({ project: 'wall', number: 2 }).commit(),
  ...members.map((member) => Person.get(member).commit()),
]).go()
assert.deepEqual(seen.map(({ item }) => item?.points ?? item?.person ?? null), [1, 3, null, 'eve', 'fay'])

await Person.delete(members).go()
await Task.remove({ project: 'shed', number: 1 }).go()
await Task.delete(tasks.map(({ project, number }) => ({ project, number }))).go()
await Task.remove(key).go()
assert.equal((await Task.scan.go()).data.length, 0)
await client.send(new DeleteTableCommand({ TableName: table }))
console.log('all of it works')
