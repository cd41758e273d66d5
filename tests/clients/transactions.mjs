// Transactions with the document client of the AWS SDK for JavaScript v3; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  CreateTableCommand, DeleteTableCommand, DynamoDBClient, IdempotentParameterMismatchException,
  TransactionCanceledException, waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand, DynamoDBDocumentClient, GetCommand, TransactGetCommand, TransactWriteCommand,
} from '@aws-sdk/lib-dynamodb'

const client = new DynamoDBClient({ endpoint: process.env.DYNAMO_ENDPOINT })
const documents = DynamoDBDocumentClient.from(client)
const TableName = `bank-${randomUUID().slice(0, 8)}`
await client.send(new CreateTableCommand({
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'account', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'account', KeyType: 'HASH' }],
}))
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName })

const names = Array.from({ length: 10 }, (_, n) => `account-${n}`)
const write = (TransactItems, more = {}) => documents.send(
  new TransactWriteCommand({ TransactItems, ...more }))
const balances = async () => {
  const { Responses } = await documents.send(new TransactGetCommand({
    TransactItems: names.map((account) => ({ Get: { TableName, Key: { account } } })),
  }))
  return Responses.map(({ Item }) => Item?.balance)
}
const move = (from, to, amount) => [
  {
    Update: {
      TableName,
      Key: { account: from },
      UpdateExpression: 'SET balance = balance - :n',
      ConditionExpression: 'balance >= :n',
      ExpressionAttributeValues: { ':n': amount },
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    },
  },
  {
    Update: {
      TableName,
      Key: { account: to },
      UpdateExpression: 'ADD balance :n',
      ExpressionAttributeValues: { ':n': amount },
    },
  },
]
const exists = (account) => ({
  ConditionCheck: {
    TableName, Key: { account }, ConditionExpression: 'attribute_exists(account)',
  },
})

// All of them, though they are of many hash keys.
assert.deepEqual(await balances(), names.map(() => undefined))
await write(names.map((account) => ({
  Put: {
    TableName,
    Item: { account, balance: 10, tags: new Set(['a', 'b']) },
    ConditionExpression: 'attribute_not_exists(account)',
  },
})))
assert.deepEqual(await balances(), names.map(() => 10))
await write([...move(names[0], names[1], 4), exists(names[2])])
assert.deepEqual((await balances()).slice(0, 3), [6, 14, 10])

// None of them, and why.
const refused = await write([
  ...move(names[3], names[4], 11), exists('nobody'), { Delete: { TableName, Key: { account: names[5] } } },
]).then(() => assert.fail('it was accepted'), (error) => error)
assert(refused instanceof TransactionCanceledException, String(refused))
assert.match(refused.message, /\[ConditionalCheckFailed, None, ConditionalCheckFailed, None\]$/)
assert.deepEqual(refused.CancellationReasons.map((reason) => reason.Code),
  ['ConditionalCheckFailed', 'None', 'ConditionalCheckFailed', 'None'])
assert.equal(refused.CancellationReasons[0].Message, 'The conditional request failed')
assert.deepEqual(refused.CancellationReasons[0].Item.balance, { N: '10' })
assert.equal(refused.CancellationReasons[2].Item, undefined)
assert.deepEqual((await balances()).slice(3, 6), [10, 10, 10])

// Once, however often it is sent; and a token is one request's.
const again = { ClientRequestToken: randomUUID(), ReturnConsumedCapacity: 'TOTAL' }
const first = await write(move(names[6], names[7], 1), again)
const second = await write(move(names[6], names[7], 1), again)
assert.equal(first.ConsumedCapacity[0].WriteCapacityUnits, 4)
assert.equal(second.ConsumedCapacity[0].ReadCapacityUnits, 4)
assert.deepEqual((await balances()).slice(6, 8), [9, 11])
await assert.rejects(write(move(names[6], names[7], 2), again), IdempotentParameterMismatchException)

// Transfers at once, beside readers: each reader sees the same sum.
const sums = []
await Promise.all([
  ...Array.from({ length: 20 }, async (_, n) => {
    const transfer = move(names[n % 10], names[(n * 3 + 1) % 10], 1)
    if (n % 10 === (n * 3 + 1) % 10) return
    for (let tries = 0; tries < 50; tries++) {
      try {
        await write(transfer)
        return
      } catch (error) {
        assert(error instanceof TransactionCanceledException, String(error))
        const codes = error.CancellationReasons.map((reason) => reason.Code)
        if (codes.includes('ConditionalCheckFailed')) return
        assert(codes.includes('TransactionConflict'), String(codes))
      }
    }
    assert.fail('it met conflicts for ever')
  }),
  ...Array.from({ length: 5 }, async () => {
    for (let tries = 0; tries < 5; tries++) {
      try {
        sums.push((await balances()).reduce((sum, one) => sum + one))
      } catch (error) {
        assert(error instanceof TransactionCanceledException, String(error))
      }
    }
  }),
])
assert.deepEqual([...new Set(sums)], [100])

// A part of an item, one that is not there, and what other reads see after the answer.
const { Responses } = await documents.send(new TransactGetCommand({
  TransactItems: [
    { Get: { TableName, Key: { account: names[8] }, ProjectionExpression: 'tags' } },
    { Get: { TableName, Key: { account: 'nobody' } } },
  ],
}))
assert.deepEqual(Responses, [{ Item: { tags: new Set(['a', 'b']) } }, {}])
await write(names.slice(5).map((account) => ({ Delete: { TableName, Key: { account } } })))
const Keys = names.map((account) => ({ account }))
const rest = await documents.send(new BatchGetCommand({ RequestItems: { [TableName]: { Keys } } }))
assert.equal(rest.Responses[TableName].length, 5)
const one = await documents.send(new GetCommand({ TableName, Key: Keys[9], ConsistentRead: true }))
assert.equal(one.Item, undefined)
await client.send(new DeleteTableCommand({ TableName }))
console.log('all of it works')
