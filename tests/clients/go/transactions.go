package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/guregu/dynamo/v2"
)

const accounts = 8

type account struct {
	Owner   string `dynamo:"owner,hash"`
	Balance int    `dynamo:"balance"`
}

// usesTransactions writes and reads accounts that have a hash key each, with the SDK and with guregu/dynamo.
func usesTransactions(ctx context.Context, client *dynamodb.Client, settings aws.Config) {
	db := dynamo.New(settings)
	table := db.Table(name("accounts"))
	must(db.CreateTable(table.Name(), account{}).OnDemand(true).Wait(ctx))
	bank := bank{ctx, client, aws.String(table.Name())}
	bank.all()
	bank.none()
	bank.once()
	transactsWithDynamo(ctx, db, table)
	must(table.DeleteTable().Wait(ctx))
}

type bank struct {
	ctx    context.Context
	client *dynamodb.Client
	table  *string
}

func (b bank) all() {
	check(fmt.Sprint(b.balances()) == "[-1 -1 -1 -1 -1 -1 -1 -1]", b.balances())
	var puts []types.TransactWriteItem
	for n := range accounts {
		puts = append(puts, b.put(n, 10))
	}
	must(b.write("", puts...))
	check(fmt.Sprint(b.balances()) == "[10 10 10 10 10 10 10 10]", b.balances())
	mixed := []types.TransactWriteItem{
		b.add(0, -4), b.add(1, 4), b.delete(2), b.put(8, 3), b.exists(3),
	}
	must(b.write("", mixed...))
	check(fmt.Sprint(b.balances()) == "[6 14 -1 10 10 10 10 10]", b.balances())
	check(b.balance(b.item(8)) == 3, "a put beside an update, a deletion and a check")
}

func (b bank) none() {
	err := b.write("", b.add(4, 1), b.add(5, -11), b.delete(6), b.put(7, 1), b.exists(2), b.put(9, 1))
	var refused *types.TransactionCanceledException
	check(errors.As(err, &refused), err)
	var codes []string
	for _, reason := range refused.CancellationReasons {
		codes = append(codes, *reason.Code)
	}
	failed := "ConditionalCheckFailed"
	wanted := []string{"None", failed, "None", failed, failed, "None"}
	check(fmt.Sprint(codes) == fmt.Sprint(wanted), codes)
	check(*refused.CancellationReasons[1].Message == "The conditional request failed", refused)
	check(b.balance(refused.CancellationReasons[1].Item) == 10, "the item as it was found")
	check(refused.CancellationReasons[3].Item == nil, "an item that nobody asked for")
	check(fmt.Sprint(b.balances()) == "[6 14 -1 10 10 10 10 10]", b.balances())
	check(b.item(9) == nil, "a cancelled transaction wrote an item")
}

func (b bank) once() {
	token := name("token")
	for range 2 {
		must(b.write(token, b.add(4, -1), b.add(5, 1), b.delete(6)))
	}
	check(fmt.Sprint(b.balances()) == "[6 14 -1 10 9 11 -1 10]", b.balances())
	var other *types.IdempotentParameterMismatchException
	err := b.write(token, b.add(4, -1), b.add(5, 2), b.delete(6))
	check(errors.As(err, &other), err)
	check(fmt.Sprint(b.balances()) == "[6 14 -1 10 9 11 -1 10]", b.balances())
}

func (b bank) write(token string, items ...types.TransactWriteItem) error {
	request := &dynamodb.TransactWriteItemsInput{TransactItems: items}
	if token != "" {
		request.ClientRequestToken = &token
	}
	_, err := b.client.TransactWriteItems(b.ctx, request)
	return err
}

// balances reads all accounts as of one moment; -1 where there is none.
func (b bank) balances() (found []int) {
	var gets []types.TransactGetItem
	for n := range accounts {
		gets = append(gets, types.TransactGetItem{Get: &types.Get{
			TableName: b.table, Key: b.key(n), ProjectionExpression: aws.String("balance"),
		}})
	}
	got, err := b.client.TransactGetItems(b.ctx, &dynamodb.TransactGetItemsInput{TransactItems: gets})
	must(err)
	for _, one := range got.Responses {
		found = append(found, b.balance(one.Item))
	}
	return found
}

func (b bank) balance(item attributes) int {
	if item == nil {
		return -1
	}
	balance, err := strconv.Atoi(item["balance"].(*types.AttributeValueMemberN).Value)
	must(err)
	return balance
}

func (b bank) item(n int) attributes {
	got, err := b.client.GetItem(b.ctx, &dynamodb.GetItemInput{
		TableName: b.table, Key: b.key(n), ConsistentRead: aws.Bool(true),
	})
	must(err)
	return got.Item
}

func (b bank) key(n int) attributes {
	return attributes{"owner": &types.AttributeValueMemberS{Value: owner(n)}}
}

func (b bank) put(n, balance int) types.TransactWriteItem {
	item := b.key(n)
	item["balance"] = &types.AttributeValueMemberN{Value: strconv.Itoa(balance)}
	return types.TransactWriteItem{Put: &types.Put{
		TableName: b.table, Item: item, ConditionExpression: aws.String("attribute_not_exists(balance)"),
	}}
}

func (b bank) add(n, amount int) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{
		TableName: b.table, Key: b.key(n), UpdateExpression: aws.String("SET balance = balance + :n"),
		ConditionExpression: aws.String("balance >= :least"),
		ExpressionAttributeValues: attributes{
			":n":     &types.AttributeValueMemberN{Value: strconv.Itoa(amount)},
			":least": &types.AttributeValueMemberN{Value: strconv.Itoa(-amount)},
		},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}
}

func (b bank) delete(n int) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{TableName: b.table, Key: b.key(n)}}
}

func (b bank) exists(n int) types.TransactWriteItem {
	return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
		TableName: b.table, Key: b.key(n), ConditionExpression: aws.String("attribute_exists(balance)"),
	}}
}

func owner(n int) string { return fmt.Sprintf("owner %d", n) }

func transactsWithDynamo(ctx context.Context, db *dynamo.DB, table dynamo.Table) {
	numbered := func(n int) string { return fmt.Sprintf("customer %d", n) }
	add := func(n, amount int) *dynamo.Update {
		return table.Update("owner", numbered(n)).Add("balance", amount)
	}
	puts := db.WriteTx()
	for n := range accounts {
		puts.Put(table.Put(account{numbered(n), 10}).If("attribute_not_exists($)", "owner"))
	}
	must(puts.Run(ctx))
	must(db.WriteTx().Update(add(0, -4)).Update(add(1, 4)).
		Delete(table.Delete("owner", numbered(2))).Put(table.Put(account{numbered(8), 3})).
		Check(table.Check("owner", numbered(3)).If("$ = ?", "balance", 10)).Run(ctx))

	balances := func() string {
		found := make([]account, accounts+1)
		gets := db.GetTx()
		for n := range found {
			gets.GetOne(table.Get("owner", numbered(n)), &found[n])
		}
		must(gets.Run(ctx))
		var all []int
		for _, one := range found {
			all = append(all, one.Balance)
		}
		return fmt.Sprint(all)
	}
	check(balances() == "[6 14 0 10 10 10 10 10 3]", balances())

	err := db.WriteTx().Update(add(4, 1)).Delete(table.Delete("owner", numbered(5))).
		Check(table.Check("owner", numbered(2)).IfExists()).Run(ctx)
	check(dynamo.IsCondCheckFailed(err), err)
	var refused *types.TransactionCanceledException
	check(errors.As(err, &refused) && len(refused.CancellationReasons) == 3, err)
	check(*refused.CancellationReasons[2].Code == "ConditionalCheckFailed", refused)
	check(balances() == "[6 14 0 10 10 10 10 10 3]", balances())

	token := fmt.Sprint(time.Now().UnixNano())
	for range 2 {
		must(db.WriteTx().IdempotentWithToken(token).Update(add(6, -1)).Update(add(7, 1)).Run(ctx))
	}
	check(balances() == "[6 14 0 10 10 10 9 11 3]", balances())
}
