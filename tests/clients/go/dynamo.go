package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/guregu/dynamo/v2"
)

type widget struct {
	User  string    `dynamo:"user,hash"`
	Made  time.Time `dynamo:"made,range"`
	Kind  string    `dynamo:"kind" index:"by_kind,hash"`
	Price float64   `dynamo:"price" localIndex:"by_price,range"`
	Count int       `dynamo:"count"`
	Tags  []string  `dynamo:"tags,set,omitempty"`
	Parts []string  `dynamo:"parts,omitempty"`
	Until time.Time `dynamo:"until,unixtime,omitempty"`
}

func usesDynamo(ctx context.Context, settings aws.Config) {
	db := dynamo.New(settings)
	table := db.Table(name("widgets"))
	must(db.CreateTable(table.Name(), widget{}).OnDemand(true).
		Project("by_kind", dynamo.IncludeProjection, "price").Tag("team", "go").Wait(ctx))
	must(table.UpdateTTL("until", true).Run(ctx))
	ttl, err := table.DescribeTTL().Run(ctx)
	must(err)
	check(ttl.Attribute == "until", ttl)
	changesOneWidget(ctx, table)
	readsManyWidgets(ctx, table)
	names, err := db.ListTables().All(ctx)
	must(err)
	check(len(names) > 0, names)
	must(table.DeleteTable().Wait(ctx))
}

func changesOneWidget(ctx context.Context, table dynamo.Table) {
	made := widget{
		User: "ann", Made: time.Unix(1, 5), Kind: "old", Price: 9.5, Count: 1,
		Tags: []string{"x"}, Until: time.Unix(4_000_000_000, 0),
	}
	must(table.Put(made).If("attribute_not_exists($)", "user").Run(ctx))
	err := table.Put(made).If("attribute_not_exists($)", "user").Run(ctx)
	check(dynamo.IsCondCheckFailed(err), err)

	var changed widget
	must(table.Update("user", "ann").Range("made", made.Made).
		Set("kind", "used").Add("count", 2).AddStringsToSet("tags", "y", "z").
		DeleteStringsFromSet("tags2", "none").SetIfNotExists("price", 1).
		If("$ = ? AND size($) = ?", "kind", "old", "tags", 1).Value(ctx, &changed))
	check(changed.Count == 3 && len(changed.Tags) == 3 && changed.Price == 9.5, changed)
	must(table.Update("user", "ann").Range("made", made.Made).
		SetExpr("$ = list_append(if_not_exists($, ?), ?)", "parts", "parts", []string{}, []string{"wheel"}).
		Remove("tags").Run(ctx))
	var read widget
	must(table.Get("user", "ann").Range("made", dynamo.Equal, made.Made).Consistent(true).One(ctx, &read))
	check(len(read.Parts) == 1 && len(read.Tags) == 0 && read.Until.Equal(made.Until), read)

	var gone widget
	must(table.Delete("user", "ann").Range("made", made.Made).OldValue(ctx, &gone))
	check(gone.Kind == "used", gone)
	err = table.Get("user", "ann").Range("made", dynamo.Equal, made.Made).One(ctx, &read)
	check(err == dynamo.ErrNotFound, err)
}

func readsManyWidgets(ctx context.Context, table dynamo.Table) {
	var all []any
	var keys []dynamo.Keyed
	for n := range 60 {
		made := time.Unix(int64(n), 0)
		all = append(all, widget{User: "bob", Made: made, Kind: fmt.Sprint(n % 3), Price: float64(60 - n)})
		keys = append(keys, dynamo.Keys{"bob", made})
	}
	wrote, err := table.Batch("user", "made").Write().Put(all...).Run(ctx)
	must(err)
	check(wrote == 60, wrote)
	var found []widget
	must(table.Batch("user", "made").Get(append(keys, dynamo.Keys{"bob", time.Unix(99, 0)})...).All(ctx, &found))
	check(len(found) == 60, len(found))

	// Pages: each search continues where the one before stopped.
	var page []widget
	query := table.Get("user", "bob").Range("made", dynamo.GreaterOrEqual, time.Unix(20, 0)).
		Filter("$ <> ?", "kind", "0").Order(dynamo.Descending)
	last, err := query.SearchLimit(10).AllWithLastEvaluatedKey(ctx, &page)
	must(err)
	for last != nil {
		last, err = query.StartFrom(last).SearchLimit(10).AllWithLastEvaluatedKey(ctx, &page)
		must(err)
	}
	check(len(page) == 27 && page[0].Made.Unix() == 59, len(page))

	var cheap []widget
	must(table.Get("user", "bob").Index("by_price").Range("price", dynamo.Less, 4).All(ctx, &cheap))
	check(len(cheap) == 3 && cheap[0].Price == 1, cheap)
	eventually(func() bool {
		count, err := table.Get("kind", "1").Index("by_kind").Count(ctx)
		must(err)
		return count == 20
	})
	var scanned []widget
	must(table.Scan().Filter("price BETWEEN ? AND ?", 10, 19).AllParallel(ctx, 3, &scanned))
	check(len(scanned) == 10, len(scanned))
}
