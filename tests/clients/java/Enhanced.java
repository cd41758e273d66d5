// A program that uses the enhanced client of the AWS SDK for Java; test_compiled.py runs it.

import java.net.URI;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbAsyncTable;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbEnhancedAsyncClient;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbEnhancedClient;
import software.amazon.awssdk.enhanced.dynamodb.DynamoDbTable;
import software.amazon.awssdk.enhanced.dynamodb.Expression;
import software.amazon.awssdk.enhanced.dynamodb.Key;
import software.amazon.awssdk.enhanced.dynamodb.TableSchema;
import software.amazon.awssdk.enhanced.dynamodb.extensions.annotations.DynamoDbVersionAttribute;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbBean;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbPartitionKey;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbSecondaryPartitionKey;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbSecondarySortKey;
import software.amazon.awssdk.enhanced.dynamodb.mapper.annotations.DynamoDbSortKey;
import software.amazon.awssdk.enhanced.dynamodb.model.BatchGetItemEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.BatchWriteItemEnhancedRequest;
import software.amazon.awssdk.enhanced.dynamodb.model.BatchWriteResult;
import software.amazon.awssdk.enhanced.dynamodb.model.IgnoreNullsMode;
import software.amazon.awssdk.enhanced.dynamodb.model.PageIterable;
import software.amazon.awssdk.enhanced.dynamodb.model.QueryConditional;
import software.amazon.awssdk.enhanced.dynamodb.model.ReadBatch;
import software.amazon.awssdk.enhanced.dynamodb.model.WriteBatch;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.ConditionalCheckFailedException;
import software.amazon.awssdk.services.dynamodb.model.ProjectionType;

public class Enhanced {
  static final URI ENDPOINT = URI.create(System.getenv("DYNAMO_ENDPOINT"));
  static final String NAME = "customers-" + UUID.randomUUID().toString().substring(0, 8);

  @DynamoDbBean
  public static class Address {
    private String city;
    private List<Integer> floors;

    public String getCity() { return city; }
    public void setCity(String city) { this.city = city; }
    public List<Integer> getFloors() { return floors; }
    public void setFloors(List<Integer> floors) { this.floors = floors; }
  }

  @DynamoDbBean
  public static class Customer {
    private String account;
    private int number;
    private String name;
    private Instant since;
    private Set<String> tags;
    private Address address;
    private Long version;

    @DynamoDbPartitionKey
    public String getAccount() { return account; }
    public void setAccount(String account) { this.account = account; }
    @DynamoDbSortKey
    public int getNumber() { return number; }
    public void setNumber(int number) { this.number = number; }
    @DynamoDbSecondaryPartitionKey(indexNames = "by_name")
    public String getName() { return name; }
    public void setName(String name) { this.name = name; }
    @DynamoDbSecondarySortKey(indexNames = {"by_name", "by_date"})
    public Instant getSince() { return since; }
    public void setSince(Instant since) { this.since = since; }
    public Set<String> getTags() { return tags; }
    public void setTags(Set<String> tags) { this.tags = tags; }
    public Address getAddress() { return address; }
    public void setAddress(Address address) { this.address = address; }
    @DynamoDbVersionAttribute
    public Long getVersion() { return version; }
    public void setVersion(Long version) { this.version = version; }
  }

  public static void main(String[] words) throws Exception {
    TableSchema<Customer> schema = TableSchema.fromBean(Customer.class);
    try (DynamoDbClient plain = DynamoDbClient.builder().endpointOverride(ENDPOINT).build();
        DynamoDbAsyncClient async = DynamoDbAsyncClient.builder().endpointOverride(ENDPOINT).build()) {
      DynamoDbEnhancedClient client = DynamoDbEnhancedClient.builder().dynamoDbClient(plain).build();
      DynamoDbTable<Customer> table = client.table(NAME, schema);
      table.createTable(request -> request
          .globalSecondaryIndices(index -> index.indexName("by_name")
              .projection(projection -> projection.projectionType(ProjectionType.ALL)))
          .localSecondaryIndices(index -> index.indexName("by_date")
              .projection(projection -> projection.projectionType(ProjectionType.KEYS_ONLY))));
      plain.waiter().waitUntilTableExists(request -> request.tableName(NAME));
      plain.updateTimeToLive(request -> request.tableName(NAME)
          .timeToLiveSpecification(ttl -> ttl.enabled(true).attributeName("expires")));

      oneItem(table);
      // Batches cannot be conditional, as versions are: a client without extensions.
      DynamoDbEnhancedClient bare =
          DynamoDbEnhancedClient.builder().dynamoDbClient(plain).extensions(List.of()).build();
      manyItems(bare, bare.table(NAME, schema));
      DynamoDbEnhancedAsyncClient enhanced =
          DynamoDbEnhancedAsyncClient.builder().dynamoDbClient(async).build();
      asynchronously(enhanced.table(NAME, schema));
      table.deleteTable();
      plain.waiter().waitUntilTableNotExists(request -> request.tableName(NAME));
    }
    System.out.println("all of it works");
  }

  static void oneItem(DynamoDbTable<Customer> table) {
    Customer ann = customer("a", 1, "ann");
    table.putItem(ann);
    Customer found = table.getItem(request -> request.key(key("a", 1)).consistentRead(true));
    check(found.getSince().equals(ann.getSince()) && found.getTags().equals(Set.of("new", "x")));
    check(found.getAddress().getFloors().equals(List.of(1, 2)), "a nested bean");
    check(found.getVersion() == 1, "the first version");

    found.getAddress().setCity("Rome");
    check(table.updateItem(found).getVersion() == 2, "the second version");
    found.setName("anne");
    refused(() -> table.updateItem(found), "an update of an outdated version");
    refused(() -> table.putItem(request -> request.item(customer("a", 1, "bob"))
        .conditionExpression(Expression.builder().expression("attribute_not_exists(account)")
            .build())), "a second item of this key");

    Customer part = new Customer();
    part.setAccount("a");
    part.setNumber(1);
    part.setVersion(2L);
    part.setName("anna");
    Customer updated = table.updateItem(request -> request.item(part)
        .ignoreNullsMode(IgnoreNullsMode.SCALAR_ONLY));
    check(updated.getName().equals("anna") && updated.getAddress().getCity().equals("Rome"));
    updated.setTags(null);
    check(table.updateItem(updated).getTags() == null, "null removes an attribute");
    check(table.deleteItem(key("a", 1)).getVersion() == 4, "the deleted item is returned");
    check(table.getItem(key("a", 1)) == null, "it is gone");
  }

  static void manyItems(DynamoDbEnhancedClient client, DynamoDbTable<Customer> table) {
    for (int start = 0; start < 50; start += 25) {
      WriteBatch.Builder<Customer> batch = WriteBatch.builder(Customer.class)
          .mappedTableResource(table);
      IntStream.range(start, start + 25)
          .forEach(n -> batch.addPutItem(customer("b", n, n % 2 == 0 ? "even" : "odd")));
      BatchWriteResult written = client.batchWriteItem(
          BatchWriteItemEnhancedRequest.builder().writeBatches(batch.build()).build());
      check(written.unprocessedPutItemsForTable(table).isEmpty());
    }
    PageIterable<Customer> pages = table.query(request -> request.limit(7).scanIndexForward(false)
        .queryConditional(QueryConditional.sortGreaterThanOrEqualTo(key("b", 20))));
    check(numbers(pages.items()).equals(
        IntStream.range(0, 30).mapToObj(n -> 49 - n).toList()), "pages backwards");
    check(pages.stream().count() >= 5, "pages of seven");

    Expression odd = Expression.builder().expression("#n = :n AND size(tags) = :two")
        .expressionNames(Map.of("#n", "name"))
        .expressionValues(Map.of(":n", AttributeValue.fromS("odd"), ":two", AttributeValue.fromN("2")))
        .build();
    check(table.scan(request -> request.filterExpression(odd).limit(10)).items().stream().count() == 25);

    ReadBatch.Builder<Customer> reads = ReadBatch.builder(Customer.class).mappedTableResource(table);
    IntStream.range(40, 60).forEach(n -> reads.addGetItem(key("b", n)));
    check(client.batchGetItem(BatchGetItemEnhancedRequest.builder().readBatches(reads.build()).build())
        .resultsForTable(table).stream().count() == 10, "a batch of which half exists");

    QueryConditional even = QueryConditional.keyEqualTo(key -> key.partitionValue("even"));
    eventually(() -> numbers(table.index("by_name").query(even).stream()
        .flatMap(page -> page.items().stream()).toList()).size() == 25);
    QueryConditional early = QueryConditional.sortLessThan(
        key -> key.partitionValue("b").sortValue(Instant.ofEpochSecond(5).toString()));
    check(numbers(table.index("by_date").query(early).stream()
        .flatMap(page -> page.items().stream()).toList()).equals(List.of(0, 1, 2, 3, 4)));
  }

  static void asynchronously(DynamoDbAsyncTable<Customer> table) {
    List<CompletableFuture<Void>> puts = IntStream.range(0, 40)
        .mapToObj(n -> table.putItem(customer("c", n, "cid"))).toList();
    CompletableFuture.allOf(puts.toArray(CompletableFuture[]::new)).join();
    List<Customer> found = new ArrayList<>();
    table.query(request -> request.limit(9)
        .queryConditional(QueryConditional.keyEqualTo(key -> key.partitionValue("c"))))
        .items().subscribe(found::add).join();
    check(numbers(found).equals(IntStream.range(0, 40).boxed().toList()), "an asynchronous query");
  }

  static Customer customer(String account, int number, String name) {
    Address address = new Address();
    address.setCity("Turin");
    address.setFloors(List.of(1, 2));
    Customer made = new Customer();
    made.setAccount(account);
    made.setNumber(number);
    made.setName(name);
    made.setSince(Instant.ofEpochSecond(number));
    made.setTags(Set.of("new", "x"));
    made.setAddress(address);
    return made;
  }

  static Key key(String account, int number) {
    return Key.builder().partitionValue(account).sortValue(number).build();
  }

  static List<Integer> numbers(Iterable<Customer> customers) {
    List<Integer> numbers = new ArrayList<>();
    customers.forEach(customer -> numbers.add(customer.getNumber()));
    return numbers;
  }

  static void refused(Runnable write, String what) {
    try {
      write.run();
    } catch (ConditionalCheckFailedException expected) {
      check(expected.getMessage().startsWith("The conditional request failed"), expected.getMessage());
      return;
    }
    throw new AssertionError(what + " was accepted");
  }

  static void eventually(BooleanSupplier holds) {
    long deadline = System.nanoTime() + 60_000_000_000L;
    while (!holds.getAsBoolean()) {
      check(System.nanoTime() < deadline, "the index did not catch up");
      try {
        Thread.sleep(100);
      } catch (InterruptedException stopped) {
        throw new AssertionError(stopped);
      }
    }
  }

  static void check(boolean holds, String... what) {
    if (!holds) {
      throw new AssertionError(String.join(" ", what));
    }
  }
}
