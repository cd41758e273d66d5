// A program that uses the AWS SDK for Go v2, by itself and by guregu/dynamo; test_compiled.py runs it.
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

func main() {
	log.SetFlags(log.Lshortfile)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	settings, err := config.LoadDefaultConfig(ctx)
	must(err)
	settings.BaseEndpoint = aws.String(os.Getenv("DYNAMO_ENDPOINT"))
	client := dynamodb.NewFromConfig(settings)
	usesTheSDK(ctx, client)
	usesDynamo(ctx, settings)
	usesTransactions(ctx, client, settings)
	fmt.Println("all of it works")
}

func name(of string) string {
	return fmt.Sprintf("%s-%08x", of, rand.Uint32())
}

func must(err error) {
	if err != nil {
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
}

func check(holds bool, said ...any) {
	if !holds {
		_ = log.Output(2, fmt.Sprint(said...))
		os.Exit(1)
	}
}

// eventually waits until an index has what was written.
func eventually(holds func() bool) {
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		check(time.Now().Before(deadline), "the index did not catch up")
	}
}
