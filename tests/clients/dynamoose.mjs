// A program that uses Dynamoose; test_javascript.py runs it.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import dynamoose from 'dynamoose'
import { until } from './until.mjs'

dynamoose.aws.ddb.local(process.env.DYNAMO_ENDPOINT)
const name = `cats-${randomUUID().slice(0, 8)}`
const schema = new dynamoose.Schema({
  owner: { type: String, hashKey: true },
  id: { type: Number, rangeKey: true },
  breed: { type: String, index: { name: 'by_breed', type: 'global', rangeKey: 'id' } },
  born: Date,
  lives: { type: Number, default: 9, validate: (lives) => lives > 0 },
  toys: { type: Set, schema: [String] },
  home: { type: Object, schema: { city: String, floors: { type: Array, schema: [Number] } } },
}, { timestamps: true })
const Cat = dynamoose.model(name, schema)
new dynamoose.Table(name, [Cat], {
  throughput: 'ON_DEMAND',
  waitForActive: { check: { frequency: 200 } },
  expires: { ttl: 3_600_000, attribute: 'expires' },
})

// One item: Dynamoose makes the table and looks until it is active.
const tom = await Cat.create({
  owner: 'ann', id: 1, breed: 'tabby', born: new Date(5), toys: new Set(['ball', 'mouse']),
  home: { city: 'Turin', floors: [1, 2] },
})
assert.equal(tom.lives, 9)
await assert.rejects(Cat.create({ owner: 'ann', id: 1 }), { name: 'ConditionalCheckFailedException' })
const found = await Cat.get({ owner: 'ann', id: 1 }, { consistent: true })
assert.deepEqual(found.toys, new Set(['ball', 'mouse']))
assert.deepEqual([found.born, found.home], [new Date(5), { city: 'Turin', floors: [1, 2] }])
assert(found.expires > new Date() && found.createdAt instanceof Date)
const updated = await Cat.update({ owner: 'ann', id: 1 }, {
  $ADD: { lives: -2 }, $SET: { home: { city: 'Rome' } }, $REMOVE: ['born'],
})
assert.deepEqual([updated.lives, updated.home, updated.born], [7, { city: 'Rome' }, undefined])
await assert.rejects(Cat.update({ owner: 'ann', id: 1 }, { lives: 1 }, {
  condition: new dynamoose.Condition().where('lives').gt(8),
}), { name: 'ConditionalCheckFailedException' })
found.breed = 'siamese'
await found.save()

// Many items.
const kittens = Array.from({ length: 25 }, (_, id) => ({
  owner: 'bob', id, breed: id % 2 ? 'odd' : 'even',
}))
assert.deepEqual((await Cat.batchPut(kittens)).unprocessedItems, [])
const keys = [{ owner: 'bob', id: 3 }, { owner: 'bob', id: 99 }]
assert.equal((await Cat.batchGet(keys)).length, 1)
const ids = (cats) => cats.map((cat) => cat.id)
const first = await Cat.query('owner').eq('bob').where('id').ge(10).sort('descending').limit(10).exec()
assert.deepEqual(ids(first), [24, 23, 22, 21, 20, 19, 18, 17, 16, 15])
const rest = await Cat.query('owner').eq('bob').where('id').ge(10).sort('descending')
  .startAt(first.lastKey).exec()
assert.deepEqual(ids(rest), [14, 13, 12, 11, 10])
await until(async () => (await Cat.query('breed').eq('odd').exec()).length === 12)
assert.equal((await Cat.query('breed').eq('odd').where('id').between(3, 7).count().exec()).count, 3)
const scanned = await Cat.scan('breed').beginsWith('ev').and().filter('lives').in([9]).all().exec()
assert.equal(scanned.length, 13)
assert.equal((await Cat.scan().parallel(3).count().exec()).count, 26)

// Transactions, of items of several hash keys.
const owners = ['cid', 'dan', 'eve', 'fay'].map((owner) => ({ owner, id: 1 }))
await dynamoose.transaction([
  ...owners.map((key) => Cat.transaction.create({ ...key, breed: 'persian' })),
  Cat.transaction.update({ owner: 'bob', id: 4 }, { $ADD: { lives: -1 } }),
  Cat.transaction.condition({ owner: 'bob', id: 5 }, new dynamoose.Condition().where('lives').eq(9)),
])
assert.equal((await Cat.get({ owner: 'bob', id: 4 })).lives, 8)
const refused = await dynamoose.transaction([
  Cat.transaction.delete(owners[0]),
  Cat.transaction.create({ ...owners[1], breed: 'stray' }),
  Cat.transaction.condition(owners[2], new dynamoose.Condition().where('lives').lt(9)),
]).then(() => assert.fail('it was accepted'), (error) => error)
assert.equal(refused.name, 'TransactionCanceledException')
assert.deepEqual(refused.CancellationReasons.map((reason) => reason.Code),
  ['None', 'ConditionalCheckFailed', 'ConditionalCheckFailed'])
const together = await dynamoose.transaction(owners.map((key) => Cat.transaction.get(key)))
assert.deepEqual(together.map((cat) => [cat.owner, cat.breed]),
  owners.map(({ owner }) => [owner, 'persian']))
// Dynamoose has no option for a token; what the SDK sends twice is a request with one.
const request = await dynamoose.transaction([
  Cat.transaction.update(owners[0], { $ADD: { lives: -1 } }),
  Cat.transaction.update(owners[1], { $ADD: { lives: -1 } }),
], { return: 'request' })
for (const _ of [1, 2]) {
  await dynamoose.aws.ddb().transactWriteItems({ ...request, ClientRequestToken: name })
}
assert.deepEqual((await Cat.batchGet(owners.slice(0, 2))).map((cat) => cat.lives), [8, 8])

await Cat.batchDelete(keys)
await found.delete()
assert.equal(await Cat.get({ owner: 'ann', id: 1 }), undefined)
await dynamoose.aws.ddb().deleteTable({ TableName: name })
console.log('all of it works')
