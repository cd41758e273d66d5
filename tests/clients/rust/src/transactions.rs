//! Transactions of accounts that have a hash key each.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, Get, Put, ReturnValuesOnConditionCheckFailure, TransactGetItem,
    TransactWriteItem, Update,
};

use crate::{Done, Failed, Item};

const ACCOUNTS: i32 = 8;

struct Bank<'a> {
    client: &'a Client,
    table: &'a str,
}

/// Works on a table whose hash key is `owner`.
pub async fn transacts(client: &Client, table: &str) -> Done {
    let bank = Bank { client, table };
    bank.all().await?;
    bank.none().await?;
    bank.once().await
}

impl Bank<'_> {
    async fn all(&self) -> Done {
        assert_eq!(self.balances().await?, [-1; 8]);
        let puts = (0..ACCOUNTS).map(|n| self.put(n, 10)).collect();
        self.write(puts, None).await?;
        assert_eq!(self.balances().await?, [10; 8]);
        let mixed = vec![
            self.add(0, -4),
            self.add(1, 4),
            self.delete(2),
            self.put(8, 3),
            self.exists(3),
        ];
        self.write(mixed, None).await?;
        assert_eq!(self.balances().await?, [6, 14, -1, 10, 10, 10, 10, 10]);
        assert_eq!(balance(self.item(8).await?.as_ref()), 3);
        Ok(())
    }

    async fn none(&self) -> Done {
        let wrong = vec![
            self.add(4, 1),
            self.add(5, -11),
            self.delete(6),
            self.put(7, 1),
            self.exists(2),
            self.put(9, 1),
        ];
        let error = self.write(wrong, None).await.expect_err("it was accepted");
        let TransactWriteItemsError::TransactionCanceledException(refused) = &error else {
            panic!("{}", DisplayErrorContext(&error));
        };
        let reasons = refused.cancellation_reasons();
        let codes: Vec<_> = reasons.iter().filter_map(|reason| reason.code()).collect();
        let failed = "ConditionalCheckFailed";
        assert_eq!(codes, ["None", failed, "None", failed, failed, "None"]);
        assert_eq!(reasons[1].message(), Some("The conditional request failed"));
        assert_eq!(balance(reasons[1].item()), 10);
        assert_eq!(reasons[3].item(), None);
        assert_eq!(self.balances().await?, [6, 14, -1, 10, 10, 10, 10, 10]);
        assert_eq!(self.item(9).await?, None);
        Ok(())
    }

    async fn once(&self) -> Done {
        let moved = |amount| vec![self.add(4, -1), self.add(5, amount), self.delete(6)];
        for _ in 0..2 {
            self.write(moved(1), Some(self.table)).await?;
        }
        assert_eq!(self.balances().await?, [6, 14, -1, 10, 9, 11, -1, 10]);
        let error = self
            .write(moved(2), Some(self.table))
            .await
            .expect_err("another request with this token");
        assert!(
            error.is_idempotent_parameter_mismatch_exception(),
            "{}",
            DisplayErrorContext(&error)
        );
        assert_eq!(self.balances().await?, [6, 14, -1, 10, 9, 11, -1, 10]);
        Ok(())
    }

    async fn write(
        &self,
        items: Vec<TransactWriteItem>,
        token: Option<&str>,
    ) -> Result<(), TransactWriteItemsError> {
        self.client
            .transact_write_items()
            .set_transact_items(Some(items))
            .set_client_request_token(token.map(Into::into))
            .send()
            .await
            .map(drop)
            .map_err(|error| error.into_service_error())
    }

    /// Of all accounts as of one moment; -1 where there is none.
    async fn balances(&self) -> Result<Vec<i32>, Failed> {
        let mut gets = Vec::new();
        for n in 0..ACCOUNTS {
            let get = Get::builder()
                .table_name(self.table)
                .set_key(Some(key(n)))
                .projection_expression("balance")
                .build()?;
            gets.push(TransactGetItem::builder().get(get).build());
        }
        let got = self
            .client
            .transact_get_items()
            .set_transact_items(Some(gets))
            .send()
            .await?;
        let found = got.responses().iter();
        Ok(found.map(|one| balance(one.item())).collect())
    }

    async fn item(&self, n: i32) -> Result<Option<Item>, Failed> {
        let got = self
            .client
            .get_item()
            .table_name(self.table)
            .set_key(Some(key(n)))
            .consistent_read(true)
            .send()
            .await?;
        Ok(got.item)
    }

    fn put(&self, n: i32, balance: i32) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(self.table)
            .set_item(Some(key(n)))
            .item("balance", N(balance.to_string()))
            .condition_expression("attribute_not_exists(balance)");
        let put = put.build().expect("a table and an item");
        TransactWriteItem::builder().put(put).build()
    }

    fn add(&self, n: i32, amount: i32) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(self.table)
            .set_key(Some(key(n)))
            .update_expression("SET balance = balance + :n")
            .condition_expression("balance >= :least")
            .expression_attribute_values(":n", N(amount.to_string()))
            .expression_attribute_values(":least", N((-amount).to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = update.build().expect("a table, a key and an expression");
        TransactWriteItem::builder().update(update).build()
    }

    fn delete(&self, n: i32) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(self.table)
            .set_key(Some(key(n)));
        let delete = delete.build().expect("a table and a key");
        TransactWriteItem::builder().delete(delete).build()
    }

    fn exists(&self, n: i32) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(self.table)
            .set_key(Some(key(n)))
            .condition_expression("attribute_exists(balance)");
        let check = check.build().expect("a table, a key and a condition");
        TransactWriteItem::builder().condition_check(check).build()
    }
}

fn key(n: i32) -> Item {
    HashMap::from([("owner".into(), S(format!("owner {n}")))])
}

fn balance(item: Option<&Item>) -> i32 {
    let Some(item) = item else { return -1 };
    let found = item["balance"].as_n().expect("a number");
    found.parse().expect("a whole number")
}
