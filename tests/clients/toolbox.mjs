// A program that uses DynamoDB-Toolbox; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  CreateTableCommand, DeleteTableCommand, DynamoDBClient, waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import {
  $add, $append, $delete, $get, $remove, BatchGetCommand, BatchGetRequest, BatchPutRequest,
  BatchWriteCommand, ConditionCheck, DeleteItemCommand, DeleteTransaction, Entity, GetItemCommand,
  GetTransaction, PutItemCommand, PutTransaction, QueryCommand, ScanCommand, Table,
  UpdateItemCommand, UpdateTransaction, executeBatchGet, executeBatchWrite, executeTransactGet,
  executeTransactWrite, isTransactionCancelled, item, list, map, number, set, string,
} from 'dynamodb-toolbox'
import { until } from './until.mjs'

const client = new DynamoDBClient({ endpoint: process.env.DYNAMO_ENDPOINT })
const name = `shop-${randomUUID().slice(0, 8)}`
await client.send(new CreateTableCommand({
  TableName: name,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: ['pk', 'sk', 'gsi_pk', 'gsi_sk'].map((AttributeName) => (
    { AttributeName, AttributeType: 'S' })),
  KeySchema: [
    { AttributeName: 'pk', KeyType: 'HASH' }, { AttributeName: 'sk', KeyType: 'RANGE' },
  ],
  GlobalSecondaryIndexes: [{
    IndexName: 'by_type',
    KeySchema: [
      { AttributeName: 'gsi_pk', KeyType: 'HASH' }, { AttributeName: 'gsi_sk', KeyType: 'RANGE' },
    ],
    Projection: { ProjectionType: 'ALL' },
  }],
}))
await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TableName: name })

const shop = new Table({
  name,
  documentClient: DynamoDBDocumentClient.from(client),
  partitionKey: { name: 'pk', type: 'string' },
  sortKey: { name: 'sk', type: 'string' },
  indexes: {
    by_type: {
      type: 'global',
      partitionKey: { name: 'gsi_pk', type: 'string' },
      sortKey: { name: 'gsi_sk', type: 'string' },
    },
  },
})
const Product = new Entity({
  name: 'Product',
  table: shop,
  schema: item({
    shop: string().key().savedAs('pk').transform({
      encode: (id) => `SHOP#${id}`, decode: (key) => key.slice(5),
    }),
    code: string().key().savedAs('sk'),
    type: string().savedAs('gsi_pk').optional(),
    label: string().savedAs('gsi_sk').optional(),
    price: number().default(1),
    stock: number().optional(),
    tags: set(string()).optional(),
    sizes: list(number()).optional(),
    maker: map({ city: string(), phone: string().optional() }).optional(),
  }),
})

// One item of a single table that holds several entities.
const chair = {
  shop: 'a', code: 'p1', type: 'chair', label: 'x', stock: 5, tags: new Set(['oak', 'old']),
  sizes: [1], maker: { city: 'Turin', phone: '1' },
}
await Product.build(PutItemCommand).item(chair).send()
await assert.rejects(
  Product.build(PutItemCommand).item(chair).options({ condition: { attr: 'code', exists: false } }).send(),
  { name: 'ConditionalCheckFailedException' },
)
const { Item: got } = await Product.build(GetItemCommand).key({ shop: 'a', code: 'p1' })
  .options({ consistent: true, attributes: ['price', 'maker.city', 'tags'] }).send()
assert.deepEqual(got, { price: 1, maker: { city: 'Turin' }, tags: new Set(['oak', 'old']) })
const { Attributes: updated } = await Product.build(UpdateItemCommand).item({
  shop: 'a', code: 'p1', stock: $add(-2), price: $get('stock', 7), tags: $delete(new Set(['old'])),
  sizes: $append([2, 3]), maker: { phone: $remove() },
}).options({ returnValues: 'ALL_NEW', condition: { attr: 'stock', gte: 2 } }).send()
assert.deepEqual(
  [updated.stock, updated.price, updated.tags, updated.sizes, updated.maker],
  [3, 5, new Set(['oak']), [1, 2, 3], { city: 'Turin' }],
)

// Many items.
const puts = Array.from({ length: 20 }, (_, n) => Product.build(BatchPutRequest).item({
  shop: 'b', code: `p${String(n).padStart(2, '0')}`, type: n % 2 ? 'odd' : 'even', label: `l${n % 10}`,
}))
const { UnprocessedItems } = await executeBatchWrite(shop.build(BatchWriteCommand).requests(...puts))
assert.deepEqual(UnprocessedItems, {})
const { Responses } = await executeBatchGet(shop.build(BatchGetCommand).requests(
  Product.build(BatchGetRequest).key({ shop: 'b', code: 'p03' }),
  Product.build(BatchGetRequest).key({ shop: 'b', code: 'none' }),
))
assert.deepEqual(Responses[0].map((product) => product?.code), ['p03', undefined])

const codes = []
let exclusiveStartKey
do {
  const page = await shop.build(QueryCommand).entities(Product)
    .query({ partition: 'SHOP#b', range: { gte: 'p05' } })
    .options({ reverse: true, limit: 4, exclusiveStartKey }).send()
  codes.push(...page.Items.map((product) => product.code))
  exclusiveStartKey = page.LastEvaluatedKey
} while (exclusiveStartKey)
assert.deepEqual(codes, Array.from({ length: 15 }, (_, n) => `p${String(19 - n).padStart(2, '0')}`))

const odd = shop.build(QueryCommand).entities(Product).query({
  index: 'by_type', partition: 'odd', range: { between: ['l3', 'l7'] },
})
await until(async () => (await odd.send()).Items.length === 6)
const scanned = await shop.build(ScanCommand).entities(Product).options({
  maxPages: Infinity, limit: 7, filters: { Product: { attr: 'type', eq: 'even' } },
}).send()
assert.equal(scanned.Items.length, 10)

// Transactions, of items of several hash keys.
const Stock = new Entity({
  name: 'Stock',
  table: shop,
  timestamps: false, // they would make a request another one when it is sent again
  schema: item({ shop: string().key().savedAs('pk'), code: string().key().savedAs('sk'), left: number() }),
})
const stocks = Array.from({ length: 10 }, (_, n) => ({ shop: `shop ${n}`, code: 'p1' }))
const put = (key, left) => Stock.build(PutTransaction).item({ ...key, left })
  .options({ condition: { attr: 'code', exists: false } })
const take = (key, amount) => Stock.build(UpdateTransaction).item({ ...key, left: $add(-amount) })
  .options({ condition: { attr: 'left', gte: amount }, returnValuesOnConditionFalse: 'ALL_OLD' })
const remove = (key) => Stock.build(DeleteTransaction).key(key)
const exists = (key) => Stock.build(ConditionCheck).key(key).condition({ attr: 'code', exists: true })
const left = async () => {
  const gets = stocks.map((key) => (
    Stock.build(GetTransaction).key(key).options({ attributes: ['left'] })))
  return (await executeTransactGet(...gets)).Responses.map((one) => one.Item?.left ?? null)
}
await executeTransactWrite(...stocks.slice(0, 8).map((key) => put(key, 10)))
assert.deepEqual(await left(), [10, 10, 10, 10, 10, 10, 10, 10, null, null])
await executeTransactWrite(
  take(stocks[0], 4), put(stocks[8], 3), remove(stocks[1]), exists(stocks[2]), take(stocks[3], 1),
)
assert.deepEqual(await left(), [6, null, 10, 9, 10, 10, 10, 10, 3, null])

const wrong = [
  remove(stocks[4]), take(stocks[5], 11), put(stocks[6], 1), exists(stocks[1]), put(stocks[9], 1),
]
const refused = await executeTransactWrite(...wrong)
  .then(() => assert.fail('it was accepted'), (error) => error)
assert(isTransactionCancelled(refused, ...wrong), String(refused))
assert.deepEqual(refused.CancellationReasons.map((reason) => reason.Code), [
  'None', 'ConditionalCheckFailed', 'ConditionalCheckFailed', 'ConditionalCheckFailed', 'None',
])
assert.deepEqual(refused.CancellationReasons[1].FormattedItem, { ...stocks[5], left: 10 })
assert.equal(refused.CancellationReasons[2].Item, undefined)
assert.deepEqual(await left(), [6, null, 10, 9, 10, 10, 10, 10, 3, null])

const clientRequestToken = randomUUID()
for (const _ of [1, 2]) {
  await executeTransactWrite({ clientRequestToken }, take(stocks[6], 1), take(stocks[7], 2))
}
await assert.rejects(
  executeTransactWrite({ clientRequestToken }, take(stocks[6], 1), take(stocks[7], 3)),
  { name: 'IdempotentParameterMismatchException' },
)
assert.deepEqual(await left(), [6, null, 10, 9, 10, 10, 9, 8, 3, null])
await Product.build(DeleteItemCommand).key({ shop: 'a', code: 'p1' }).send()
await client.send(new DeleteTableCommand({ TableName: name }))
console.log('all of it works')
