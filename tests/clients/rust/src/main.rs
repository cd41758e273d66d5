//! A program that uses the AWS SDK for Rust; test_compiled.py runs it.

mod transactions;

use std::collections::HashMap;
use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue::{self, B, Bool, L, M, N, Null, S, Ss};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    KeysAndAttributes, Projection, ProjectionType, PutRequest, ReturnValue,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableStatus, TimeToLiveSpecification,
    WriteRequest,
};

type Failed = Box<dyn std::error::Error>;
type Done = Result<(), Failed>;
type Item = HashMap<String, AttributeValue>;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(env::var("AWS_REGION")?))
        .credentials_provider(Credentials::new(
            "anybody",
            "anything",
            None,
            None,
            "this program",
        ))
        .endpoint_url(env::var("DYNAMO_ENDPOINT")?)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let table = format!("planets-{now:x}");
    makes_a_table(&client, &table).await?;
    changes_one_item(&client, &table).await?;
    reads_many_items(&client, &table).await?;
    let accounts = format!("accounts-{now:x}");
    makes_accounts(&client, &accounts).await?;
    transactions::transacts(&client, &accounts).await?;
    client.delete_table().table_name(&accounts).send().await?;
    client.delete_table().table_name(&table).send().await?;
    let deadline = Instant::now() + PATIENCE;
    while exists(&client, &table).await? {
        assert!(Instant::now() < deadline, "the table is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all of it works");
    Ok(())
}

async fn makes_a_table(client: &Client, table: &str) -> Done {
    let attribute = |name: &str, of: ScalarAttributeType| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(of)
            .build()
    };
    let key = |name: &str, of: KeyType| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(of)
            .build()
    };
    let by_kind = GlobalSecondaryIndex::builder()
        .index_name("by_kind")
        .key_schema(key("kind", KeyType::Hash)?)
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        )
        .build()?;
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("star", ScalarAttributeType::S)?)
        .attribute_definitions(attribute("number", ScalarAttributeType::N)?)
        .attribute_definitions(attribute("kind", ScalarAttributeType::S)?)
        .key_schema(key("star", KeyType::Hash)?)
        .key_schema(key("number", KeyType::Range)?)
        .global_secondary_indexes(by_kind)
        .send()
        .await?;
    becomes_active(client, table).await?;
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("until")
        .build()?;
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(ttl)
        .send()
        .await?;
    Ok(())
}

async fn makes_accounts(client: &Client, table: &str) -> Done {
    let owner = AttributeDefinition::builder()
        .attribute_name("owner")
        .attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder()
        .attribute_name("owner")
        .key_type(KeyType::Hash);
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(owner.build()?)
        .key_schema(key.build()?)
        .send()
        .await?;
    becomes_active(client, table).await
}

async fn becomes_active(client: &Client, table: &str) -> Done {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = client.describe_table().table_name(table).send().await?;
        if said.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
            break;
        }
        assert!(Instant::now() < deadline, "the table is not active");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn changes_one_item(client: &Client, table: &str) -> Done {
    let item = HashMap::from([
        ("star".into(), S("sun".into())),
        ("number".into(), N("3".into())),
        ("names".into(), Ss(vec!["earth".into(), "terra".into()])),
        ("raw".into(), B(Blob::new([0, 255]))),
        (
            "moons".into(),
            L(vec![M(HashMap::from([("name".into(), S("moon".into()))]))]),
        ),
        ("rings".into(), Bool(false)),
        ("nothing".into(), Null(true)),
    ]);
    let put = client
        .put_item()
        .table_name(table)
        .set_item(Some(item.clone()))
        .condition_expression("attribute_not_exists(star)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    put.clone().send().await?;
    let error = put
        .send()
        .await
        .expect_err("a second item of this key")
        .into_service_error();
    assert!(
        error.is_conditional_check_failed_exception(),
        "{}",
        DisplayErrorContext(&error)
    );

    let key = |name: &str| item[name].clone();
    let got = client
        .get_item()
        .table_name(table)
        .key("star", key("star"))
        .key("number", key("number"))
        .consistent_read(true)
        .send()
        .await?;
    assert_eq!(got.item(), Some(&item));
    let changed = client
        .update_item()
        .table_name(table)
        .key("star", key("star"))
        .key("number", key("number"))
        .update_expression(
            "SET moons[0].#n = :n, visits = if_not_exists(visits, :z) + :o ADD #s :s",
        )
        .condition_expression("size(moons) = :o")
        .expression_attribute_names("#n", "name")
        .expression_attribute_names("#s", "names")
        .expression_attribute_values(":n", S("luna".into()))
        .expression_attribute_values(":z", N("0".into()))
        .expression_attribute_values(":o", N("1".into()))
        .expression_attribute_values(":s", Ss(vec!["world".into()]))
        .return_values(ReturnValue::UpdatedNew)
        .send()
        .await?;
    let changed = changed.attributes().expect("attributes");
    assert_eq!(changed["visits"], N("1".into()));
    assert_eq!(changed["names"].as_ss().map(Vec::len), Ok(3));
    let gone = client
        .delete_item()
        .table_name(table)
        .key("star", key("star"))
        .key("number", key("number"))
        .return_values(ReturnValue::AllOld)
        .send()
        .await?;
    assert_eq!(gone.attributes().map(HashMap::len), Some(8));
    Ok(())
}

async fn reads_many_items(client: &Client, table: &str) -> Done {
    let key = |n: usize| -> Item {
        HashMap::from([
            ("star".into(), S("far".into())),
            ("number".into(), N(n.to_string())),
        ])
    };
    let mut puts = Vec::new();
    for n in 0..25 {
        let mut item = key(n);
        item.insert(
            "kind".into(),
            S(if n % 2 == 0 { "gas" } else { "rock" }.into()),
        );
        let put = PutRequest::builder().set_item(Some(item)).build()?;
        puts.push(WriteRequest::builder().put_request(put).build());
    }
    let written = client
        .batch_write_item()
        .request_items(table, puts)
        .send()
        .await?;
    assert!(written.unprocessed_items().is_none_or(HashMap::is_empty));
    let keys = KeysAndAttributes::builder()
        .keys(key(3))
        .keys(key(99))
        .build()?;
    let many = client
        .batch_get_item()
        .request_items(table, keys)
        .send()
        .await?;
    assert_eq!(many.responses().map(|found| found[table].len()), Some(1));

    let found: Vec<Item> = client
        .query()
        .table_name(table)
        .key_condition_expression("star = :s AND #n BETWEEN :low AND :high")
        .expression_attribute_names("#n", "number")
        .expression_attribute_values(":s", S("far".into()))
        .expression_attribute_values(":low", N("5".into()))
        .expression_attribute_values(":high", N("20".into()))
        .scan_index_forward(false)
        .limit(6)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await?;
    let numbers: Vec<&AttributeValue> = found.iter().map(|item| &item["number"]).collect();
    let wanted: Vec<AttributeValue> = (5..=20).rev().map(|n: i32| N(n.to_string())).collect();
    assert_eq!(numbers, wanted.iter().collect::<Vec<_>>());

    let deadline = Instant::now() + PATIENCE;
    loop {
        let rocks = client
            .query()
            .table_name(table)
            .index_name("by_kind")
            .key_condition_expression("kind = :k")
            .expression_attribute_values(":k", S("rock".into()))
            .send()
            .await?;
        if rocks.count() == 12 {
            break;
        }
        assert!(Instant::now() < deadline, "the index did not catch up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let scanned: Vec<Item> = client
        .scan()
        .table_name(table)
        .filter_expression("kind = :k")
        .expression_attribute_values(":k", S("gas".into()))
        .limit(10)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await?;
    assert_eq!(scanned.len(), 13);
    Ok(())
}

async fn exists(client: &Client, table: &str) -> Result<bool, Failed> {
    match client.describe_table().table_name(table).send().await {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|e| e.is_resource_not_found_exception()) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
