// A program that uses the AWS SDK for JavaScript v3; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  ConditionalCheckFailedException, CreateTableCommand, DeleteTableCommand, DynamoDBClient,
  waitUntilTableExists, waitUntilTableNotExists,
} from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand, BatchWriteCommand, DeleteCommand, DynamoDBDocumentClient, GetCommand,
  PutCommand, QueryCommand, ScanCommand, UpdateCommand, paginateQuery,
} from '@aws-sdk/lib-dynamodb'

const client = new DynamoDBClient({ endpoint: process.env.DYNAMO_ENDPOINT })
const documents = DynamoDBDocumentClient.from(client)
const TableName = `games-${randomUUID().slice(0, 8)}`

await client.send(new CreateTableCommand({
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'player', AttributeType: 'S' },
    { AttributeName: 'game', AttributeType: 'N' },
    { AttributeName: 'level', AttributeType: 'S' },
  ],
  KeySchema: [
    { AttributeName: 'player', KeyType: 'HASH' },
    { AttributeName: 'game', KeyType: 'RANGE' },
  ],
  GlobalSecondaryIndexes: [{
    IndexName: 'by_level',
    KeySchema: [{ AttributeName: 'level', KeyType: 'HASH' }],
    Projection: { ProjectionType: 'ALL' },
  }],
}))
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName })

const Item = {
  player: 'ada', game: 1, level: 'high', scores: [1, 2.5, { best: true }],
  badges: new Set(['a', 'b']), raw: new Uint8Array([0, 255]), nothing: null,
}
await documents.send(new PutCommand({ TableName, Item }))
const got = await documents.send(new GetCommand({ TableName, Key: { player: 'ada', game: 1 } }))
assert.deepEqual(got.Item, Item)

await assert.rejects(
  documents.send(new PutCommand({
    TableName, Item, ConditionExpression: 'attribute_not_exists(player)',
  })),
  ConditionalCheckFailedException,
)
const updated = await documents.send(new UpdateCommand({
  TableName,
  Key: { player: 'ada', game: 1 },
  UpdateExpression: 'SET scores[2].best = :no ADD badges :more, plays :one',
  ExpressionAttributeValues: { ':no': false, ':more': new Set(['c']), ':one': 1 },
  ReturnValues: 'ALL_NEW',
}))
assert.deepEqual(updated.Attributes, {
  ...Item, scores: [1, 2.5, { best: false }], badges: new Set(['a', 'b', 'c']), plays: 1,
})

const puts = Array.from({ length: 25 }, (_, n) => ({
  PutRequest: { Item: { player: 'bob', game: n, level: n % 2 ? 'odd' : 'even' } },
}))
const written = await documents.send(new BatchWriteCommand({ RequestItems: { [TableName]: puts } }))
assert.deepEqual(written.UnprocessedItems, {})
const games = []
for await (const page of paginateQuery({ client: documents, pageSize: 4 }, {
  TableName,
  KeyConditionExpression: 'player = :p AND game > :g',
  ExpressionAttributeValues: { ':p': 'bob', ':g': 9 },
  ScanIndexForward: false,
})) games.push(...page.Items.map((item) => item.game))
assert.deepEqual(games, Array.from({ length: 15 }, (_, n) => 24 - n))

const Keys = [{ player: 'bob', game: 3 }, { player: 'bob', game: 99 }]
const many = await documents.send(new BatchGetCommand({ RequestItems: { [TableName]: { Keys } } }))
assert.equal(many.Responses[TableName].length, 1)

const deadline = Date.now() + 60_000
for (;;) {
  const odd = await documents.send(new QueryCommand({
    TableName, IndexName: 'by_level', KeyConditionExpression: '#l = :l',
    ExpressionAttributeNames: { '#l': 'level' }, ExpressionAttributeValues: { ':l': 'odd' },
  }))
  if (odd.Count === 12) break
  assert(Date.now() < deadline, 'the index did not catch up')
  await new Promise((resolve) => setTimeout(resolve, 100))
}
const scanned = await documents.send(new ScanCommand({
  TableName, FilterExpression: 'contains(badges, :b)', ExpressionAttributeValues: { ':b': 'c' },
}))
assert.equal(scanned.Count, 1)
assert.equal(scanned.ScannedCount, 26)
await documents.send(new DeleteCommand({ TableName, Key: { player: 'ada', game: 1 } }))
await client.send(new DeleteTableCommand({ TableName }))
await waitUntilTableNotExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName })
console.log('all of it works')
