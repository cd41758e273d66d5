package main

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/expression"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type movie struct {
	Year   int            `dynamodbav:"year"`
	Title  string         `dynamodbav:"title"`
	Genre  string         `dynamodbav:"genre,omitempty"`
	Rating float64        `dynamodbav:"rating"`
	Info   map[string]any `dynamodbav:"info,omitempty"`
	Tags   []string       `dynamodbav:"tags,stringset,omitempty"`
	Until  time.Time      `dynamodbav:"until,unixtime,omitempty"`
}

type attributes = map[string]types.AttributeValue

func usesTheSDK(ctx context.Context, client *dynamodb.Client) {
	table := aws.String(name("movies"))
	makesMovies(ctx, client, table)
	changesOneMovie(ctx, client, table)
	readsManyMovies(ctx, client, table)
	_, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: table})
	must(err)
	must(dynamodb.NewTableNotExistsWaiter(client, quickly).Wait(
		ctx, &dynamodb.DescribeTableInput{TableName: table}, time.Minute))
}

func quickly(o *dynamodb.TableNotExistsWaiterOptions) { o.MinDelay = time.Second }

func makesMovies(ctx context.Context, client *dynamodb.Client, table *string) {
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kind}
	}
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:   table,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("year"), AttributeType: types.ScalarAttributeTypeN},
			{AttributeName: aws.String("title"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("genre"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			key("year", types.KeyTypeHash), key("title", types.KeyTypeRange),
		},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName:  aws.String("by_genre"),
			KeySchema:  []types.KeySchemaElement{key("genre", types.KeyTypeHash)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
	})
	must(err)
	must(dynamodb.NewTableExistsWaiter(client).Wait(
		ctx, &dynamodb.DescribeTableInput{TableName: table}, time.Minute,
		func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = time.Second }))
	_, err = client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String("until"), Enabled: aws.Bool(true),
		},
	})
	must(err)
}

func changesOneMovie(ctx context.Context, client *dynamodb.Client, table *string) {
	made := movie{
		Year: 1979, Title: "Stalker", Genre: "sf", Rating: 8.1,
		Info:  map[string]any{"director": "Tarkovsky", "minutes": 162.0, "takes": []any{1.0, true, nil}},
		Tags:  []string{"slow", "zone"},
		Until: time.Unix(4_000_000_000, 0),
	}
	item, err := attributevalue.MarshalMap(made)
	must(err)
	new, err := expression.NewBuilder().
		WithCondition(expression.AttributeNotExists(expression.Name("year"))).Build()
	must(err)
	put := &dynamodb.PutItemInput{
		TableName: table, Item: item, ConditionExpression: new.Condition(),
		ExpressionAttributeNames:            new.Names(),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	_, err = client.PutItem(ctx, put)
	must(err)
	_, err = client.PutItem(ctx, put)
	var refused *types.ConditionalCheckFailedException
	check(errors.As(err, &refused), err)
	check(len(refused.Item) == len(item), refused.Item)

	key := attributes{"year": item["year"], "title": item["title"]}
	got, err := client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: table, Key: key, ConsistentRead: aws.Bool(true),
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	must(err)
	var read movie
	must(attributevalue.UnmarshalMap(got.Item, &read))
	check(read.Until.Equal(made.Until) && len(read.Tags) == 2 && len(read.Info) == 3, read)
	check(*got.ConsumedCapacity.CapacityUnits == 1, *got.ConsumedCapacity.CapacityUnits)

	change, err := expression.NewBuilder().
		WithUpdate(expression.
			Set(expression.Name("rating"), expression.Name("rating").Plus(expression.Value(1))).
			Set(expression.Name("info.takes"), expression.ListAppend(
				expression.Name("info.takes"), expression.Value([]int{2}))).
			Remove(expression.Name("info.director")).
			Delete(expression.Name("tags"), expression.Value(&types.AttributeValueMemberSS{
				Value: []string{"slow"},
			}))).
		WithCondition(expression.Name("rating").LessThan(expression.Value(9))).Build()
	must(err)
	changed, err := client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: table, Key: key, UpdateExpression: change.Update(),
		ConditionExpression:      change.Condition(),
		ExpressionAttributeNames: change.Names(), ExpressionAttributeValues: change.Values(),
		ReturnValues: types.ReturnValueAllNew,
	})
	must(err)
	read = movie{}
	must(attributevalue.UnmarshalMap(changed.Attributes, &read))
	check(read.Rating == 9.1 && len(read.Tags) == 1 && len(read.Info["takes"].([]any)) == 4, read)
	gone, err := client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: table, Key: key, ReturnValues: types.ReturnValueAllOld,
	})
	must(err)
	check(len(gone.Attributes) == len(changed.Attributes), gone.Attributes)
}

func readsManyMovies(ctx context.Context, client *dynamodb.Client, table *string) {
	var writes []types.WriteRequest
	for n := range 25 {
		item, err := attributevalue.MarshalMap(movie{Year: 2000, Title: string(rune('a' + n)), Genre: "new"})
		must(err)
		writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
	}
	written, err := client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
		RequestItems: map[string][]types.WriteRequest{*table: writes},
	})
	must(err)
	check(len(written.UnprocessedItems) == 0, written.UnprocessedItems)

	asked, err := expression.NewBuilder().WithKeyCondition(expression.Key("year").
		Equal(expression.Value(2000)).And(expression.Key("title").GreaterThan(expression.Value("e")))).
		WithProjection(expression.NamesList(expression.Name("title"))).Build()
	must(err)
	pages := dynamodb.NewQueryPaginator(client, &dynamodb.QueryInput{
		TableName: table, KeyConditionExpression: asked.KeyCondition(), Limit: aws.Int32(6),
		ProjectionExpression:     asked.Projection(),
		ExpressionAttributeNames: asked.Names(), ExpressionAttributeValues: asked.Values(),
	})
	titles := ""
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err)
		for _, item := range page.Items {
			check(len(item) == 1, item)
			titles += item["title"].(*types.AttributeValueMemberS).Value
		}
	}
	check(titles == "fghijklmnopqrstuvwxy", titles)

	eventually(func() bool {
		found, err := client.Query(ctx, &dynamodb.QueryInput{
			TableName: table, IndexName: aws.String("by_genre"),
			KeyConditionExpression:    aws.String("genre = :g"),
			ExpressionAttributeValues: attributes{":g": &types.AttributeValueMemberS{Value: "new"}},
		})
		must(err)
		return found.Count == 25
	})
	count := int32(0)
	for segment := range int32(2) {
		pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{
			TableName: table, Segment: aws.Int32(segment), TotalSegments: aws.Int32(2),
			Select: types.SelectCount, Limit: aws.Int32(10),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			must(err)
			count += page.Count
		}
	}
	check(count == 25, count)
}
