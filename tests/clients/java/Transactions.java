// Transactions with the enhanced client of the AWS SDK for Java; test_compiled.py runs it.

import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.IntStream;
import software.amazon.awssdk.enhanced.dynamodb.Document;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbEnhancedClient;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbTable;
import software.amazon.awssdk.enhanced.dynamodb.Expression;
import software.amazon.awssdk.enhanced.dynamodb.Key;
import software.amazon.awssdk.enhanced.dynamodb.TableSchema;
import software.amazon.awssdk.enhanced.dynamodb.extensions.annotations.DynamoDbVersionAttribute;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbBean;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbPartitionKey;
import software.amazon.awssdk.enhanced.dynamodb.model.ConditionCheck;
import software.amazon.awssdk.enhanced.dynamodb.model.TransactGetItemsEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.TransactPutItemEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.TransactUpdateItemEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.TransactWriteItemsEnhancedRequest;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.CancellationReason;
import software.amazon.awssdk.services.dynamodb.model.IdempotentParameterMismatchException;
import software.amazon.awssdk.services.dynamodb.model.ReturnValuesOnConditionCheckFailure;
import software.amazon.awssdk.services.dynamodb.model.TransactionCanceledException;

public class Transactions {
  static final URI ENDPOINT = URI.create(System.getenv("DYNAMO_ENDPOINT"));
  static final String NAME = "accounts-" + UUID.randomUUID().toString().substring(0, 8);
  static final int ACCOUNTS = 10;
  static final Expression ABSENT = expression("attribute_not_exists(id)", Map.of());

  @DynamoDbBean
  public static class Account {
    private String id;
    private Integer balance;
    private Long version;

    @DynamoDbPartitionKey
    public String getId() { return id; }
    public void setId(String id) { this.id = id; }
    public Integer getBalance() { return balance; }
    public void setBalance(Integer balance) { this.balance = balance; }
    @DynamoDbVersionAttribute
    public Long getVersion() { return version; }
    public void setVersion(Long version) { this.version = version; }
  }

  static DynamoDbEnhancedClient client;
  static DynamoDbTable<Account> table;

  public static void main(String[] words) {
    try (DynamoDbClient plain = DynamoDbClient.builder().endpointOverride(ENDPOINT).build()) {
      client = DynamoDbEnhancedClient.builder().dynamoDbClient(plain).build();
      table = client.table(NAME, TableSchema.fromBean(Account.class));
      table.createTable();
      plain.waiter().waitUntilTableExists(request -> request.tableName(NAME));
      allOfThem();
      noneOfThem();
      once();
      table.deleteTable();
      plain.waiter().waitUntilTableNotExists(request -> request.tableName(NAME));
    }
    System.out.println("all of it works");
  }

  /** Though they have a hash key each. */
  static void allOfThem() {
    TransactWriteItemsEnhancedRequest.Builder puts = TransactWriteItemsEnhancedRequest.builder();
    IntStream.range(0, ACCOUNTS).forEach(n -> puts.addPutItem(table,
        TransactPutItemEnhancedRequest.builder(Account.class).item(account(n, 10))
            .conditionExpression(ABSENT).build()));
    client.transactWriteItems(puts.build());
    check(balances().equals(IntStream.range(0, ACCOUNTS).mapToObj(n -> 10).toList()), "all");

    Account first = read(0);
    Account second = read(1);
    first.setBalance(6);
    second.setBalance(14);
    client.transactWriteItems(request -> request.addUpdateItem(table, first)
        .addUpdateItem(table, second).addDeleteItem(table, read(2))
        .addConditionCheck(table, check(3, "balance = :n", 10)));
    check(balances().subList(0, 4).equals(List.of(6, 14, -1, 10)), "moved");
    check(read(0).getVersion() == 2 && read(3).getVersion() == 1, "a check is no change");
  }

  static void noneOfThem() {
    Account outdated = account(5, 0);
    outdated.setVersion(7L);
    List<CancellationReason> reasons = refused(request -> request
        .addDeleteItem(table, key(4))
        .addUpdateItem(table, TransactUpdateItemEnhancedRequest.builder(Account.class)
            .item(outdated).returnValuesOnConditionCheckFailure(
                ReturnValuesOnConditionCheckFailure.ALL_OLD).build())
        .addConditionCheck(table, check(6, "balance > :n", 10)));
    check(codes(reasons).equals(List.of("None", "ConditionalCheckFailed", "ConditionalCheckFailed")),
        codes(reasons).toString());
    check(reasons.get(1).item().get("version").n().equals("1"), "the item as it was found");
    check(!reasons.get(2).hasItem(), "that nobody asked for");
    check(balances().subList(4, 7).equals(List.of(10, 10, 10)), "nothing happened");
  }

  static void once() {
    String token = UUID.randomUUID().toString();
    for (int times = 0; times < 2; times++) {
      client.transactWriteItems(request -> request.clientRequestToken(token)
          .addUpdateItem(table, changed(7, 9)).addUpdateItem(table, changed(8, 11)));
    }
    check(balances().subList(7, 9).equals(List.of(9, 11)), "once");
    check(read(7).getVersion() == 2, "once, by its version");
    try {
      client.transactWriteItems(request -> request.clientRequestToken(token)
          .addUpdateItem(table, changed(7, 9)).addUpdateItem(table, changed(8, 12)));
      throw new AssertionError("another request with this token was accepted");
    } catch (IdempotentParameterMismatchException expected) {
      check(balances().get(8) == 11, "nothing happened");
    }
  }

  static List<CancellationReason> refused(
      java.util.function.Consumer<TransactWriteItemsEnhancedRequest.Builder> request) {
    try {
      client.transactWriteItems(request);
    } catch (TransactionCanceledException expected) {
      return expected.cancellationReasons();
    }
    throw new AssertionError("it was accepted");
  }

  static List<String> codes(List<CancellationReason> reasons) {
    return reasons.stream().map(CancellationReason::code).toList();
  }

  /** Of all accounts at one moment; -1 where there is none. */
  static List<Integer> balances() {
    TransactGetItemsEnhancedRequest.Builder gets = TransactGetItemsEnhancedRequest.builder();
    IntStream.range(0, ACCOUNTS).forEach(n -> gets.addGetItem(table, key(n)));
    List<Integer> found = new ArrayList<>();
    for (Document document : client.transactGetItems(gets.build())) {
      Account account = document.getItem(table);
      found.add(account == null ? -1 : account.getBalance());
    }
    return found;
  }

  static ConditionCheck<Account> check(int number, String text, int value) {
    return ConditionCheck.builder().key(key(number))
        .conditionExpression(expression(text, Map.of(":n", AttributeValue.fromN("" + value))))
        .build();
  }

  static Expression expression(String text, Map<String, AttributeValue> values) {
    return Expression.builder().expression(text).expressionValues(values).build();
  }

  static Account account(int number, int balance) {
    Account made = new Account();
    made.setId("account " + number);
    made.setBalance(balance);
    return made;
  }

  /** An account as a program has it that has read its first version. */
  static Account changed(int number, int balance) {
    Account made = account(number, balance);
    made.setVersion(1L);
    return made;
  }

  static Account read(int number) {
    return table.getItem(request -> request.key(key(number)).consistentRead(true));
  }

  static Key key(int number) {
    return Key.builder().partitionValue("account " + number).build();
  }

  static void check(boolean holds, String... what) {
    if (!holds) {
      throw new AssertionError(String.join(" ", what));
    }
  }
}
