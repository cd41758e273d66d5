// Streams with the AWS SDK for JavaScript v3; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  CreateTableCommand, DeleteItemCommand, DeleteTableCommand, DynamoDBClient, PutItemCommand,
  UpdateTableCommand, waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import {
  DescribeStreamCommand, DynamoDBStreamsClient, GetRecordsCommand, GetShardIteratorCommand,
  ListStreamsCommand, ResourceNotFoundException,
} from '@aws-sdk/client-dynamodb-streams'
import { until } from './until.mjs'

const endpoint = process.env.DYNAMO_ENDPOINT
const client = new DynamoDBClient({ endpoint })
const streams = new DynamoDBStreamsClient({ endpoint })
const TableName = `events-${randomUUID().slice(0, 8)}`
const { TableDescription } = await client.send(new CreateTableCommand({
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
  StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_AND_OLD_IMAGES' },
}))
const StreamArn = TableDescription.LatestStreamArn
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName })
const described = async () => {
  const { StreamDescription } = await streams.send(new DescribeStreamCommand({ StreamArn }))
  return StreamDescription
}
await until(async () => (await described()).StreamStatus === 'ENABLED', 'no stream')
const { Streams } = await streams.send(new ListStreamsCommand({ TableName }))
assert.deepEqual(Streams, [{ StreamArn, TableName, StreamLabel: TableDescription.LatestStreamLabel }])

const iterator = async (ShardId, ShardIteratorType, more = {}) => {
  const { ShardIterator } = await streams.send(new GetShardIteratorCommand({
    StreamArn, ShardId, ShardIteratorType, ...more,
  }))
  return ShardIterator
}
// What an iterator finds: its records until a few pages are empty, and whether the shard has ended.
const read = async (ShardIterator) => {
  const records = []
  for (let empty = 0; ShardIterator && empty < 3;) {
    const page = await streams.send(new GetRecordsCommand({ ShardIterator }))
    records.push(...page.Records)
    empty = page.Records.length ? 0 : empty + 1
    ShardIterator = page.NextShardIterator
  }
  return { records, ended: ShardIterator === undefined }
}
// The records of all shards, each shard's after those of its parent.
const readAll = async () => {
  const { Shards } = await described()
  const left = new Map(Shards.map((shard) => [shard.ShardId, shard]))
  const found = new Map()
  while (left.size) {
    const [ShardId] = [...left].find(([, shard]) => !left.has(shard.ParentShardId))
    left.delete(ShardId)
    found.set(ShardId, await read(await iterator(ShardId, 'TRIM_HORIZON')))
  }
  return found
}

// Three changes of each item, in their order and with their images.
const ids = Array.from({ length: 20 }, (_, n) => `item-${n}`)
await Promise.all(ids.map(async (id) => {
  for (const count of ['1', '2']) {
    await client.send(new PutItemCommand({
      TableName, Item: { id: { S: id }, count: { N: count }, raw: { B: new Uint8Array([0, 255]) } },
    }))
  }
  await client.send(new DeleteItemCommand({ TableName, Key: { id: { S: id } } }))
}))
let shards
await until(async () => {
  shards = await readAll()
  return [...shards.values()].flatMap(({ records }) => records).length >= 60
}, 'records are missing')
const all = [...shards.values()].flatMap(({ records }) => records)
assert.equal(all.length, 60)
assert.equal(new Set(all.map((record) => record.eventID)).size, 60)
const image = (id, count) => ({
  id: { S: id }, count: { N: count }, raw: { B: new Uint8Array([0, 255]) },
})
for (const id of ids) {
  const changes = all.filter((record) => record.dynamodb.Keys.id.S === id)
  assert.deepEqual(changes.map((record) => [
    record.eventName, record.dynamodb.OldImage, record.dynamodb.NewImage,
  ]), [
    ['INSERT', undefined, image(id, '1')],
    ['MODIFY', image(id, '1'), image(id, '2')],
    ['REMOVE', image(id, '2'), undefined],
  ])
}
const busy = [...shards].filter(([, { records }]) => records.length)
assert(busy.length > 1, 'the items are on several shards')
assert(busy.every(([, { ended }]) => !ended), 'open shards have a next iterator')

// From a certain record, and from now on.
const [[ShardId, { records }]] = busy
const numbers = (some) => some.map((record) => record.dynamodb.SequenceNumber)
const from = async (...words) => numbers((await read(await iterator(ShardId, ...words))).records)
const at = { SequenceNumber: numbers(records)[1] }
assert.deepEqual(await from('AT_SEQUENCE_NUMBER', at), numbers(records).slice(1))
assert.deepEqual(await from('AFTER_SEQUENCE_NUMBER', at), numbers(records).slice(2))
const latest = await iterator(ShardId, 'LATEST')
assert.deepEqual((await read(latest)).records, [])
const id = records[0].dynamodb.Keys.id
await client.send(new PutItemCommand({ TableName, Item: { id } }))
await until(async () => (await read(latest)).records.length === 1, 'the last record is missing')

// What is refused.
const refused = async (command, check) => assert.rejects(streams.send(command), check)
const start = { StreamArn, ShardId }
const other = `${StreamArn.slice(0, -3)}000`
await refused(new DescribeStreamCommand({ StreamArn: other }), ResourceNotFoundException)
const invalid = (error) => error.name === 'ValidationException'
await refused(new GetRecordsCommand({ ShardIterator: 'nonsense' }), invalid)
await refused(new GetShardIteratorCommand({ ...start, ShardIteratorType: 'AT_SEQUENCE_NUMBER' }), invalid)
await refused(new GetShardIteratorCommand({ ...start, ...at, ShardIteratorType: 'LATEST' }), invalid)

// A stream that is disabled is read to its end.
await client.send(new UpdateTableCommand({ TableName, StreamSpecification: { StreamEnabled: false } }))
await until(async () => {
  shards = await readAll()
  return [...shards.values()].every(({ ended }) => ended)
}, 'the stream does not end')
assert.equal([...shards.values()].flatMap(({ records }) => records).length, 61)
assert.equal((await described()).StreamStatus, 'DISABLED')
await client.send(new DeleteTableCommand({ TableName }))
console.log('all of it works')
