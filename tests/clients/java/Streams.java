// Streams with the AWS SDK for Java; test_compiled.py runs it.

import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.BillingMode;
import software.amazon.awssdk.services.dynamodb.model.DynamoDbException;
import software.amazon.awssdk.services.dynamodb.model.GetRecordsResponse;
import software.amazon.awssdk.services.dynamodb.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.dynamodb.model.KeyType;
import software.amazon.awssdk.services.dynamodb.model.OperationType;
import software.amazon.awssdk.services.dynamodb.model.Record;
import software.amazon.awssdk.services.dynamodb.model.ResourceNotFoundException;
import software.amazon.awssdk.services.dynamodb.model.ScalarAttributeType;
import software.amazon.awssdk.services.dynamodb.model.Shard;
import software.amazon.awssdk.services.dynamodb.model.ShardIteratorType;
import software.amazon.awssdk.services.dynamodb.model.Stream;
import software.amazon.awssdk.services.dynamodb.model.StreamDescription;
import software.amazon.awssdk.services.dynamodb.model.StreamStatus;
import software.amazon.awssdk.services.dynamodb.model.StreamViewType;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;

public class Streams {
  static final URI ENDPOINT = URI.create(System.getenv("DYNAMO_ENDPOINT"));
  static final String NAME = "events-" + UUID.randomUUID().toString().substring(0, 8);
  static final int ITEMS = 20;

  /** What was read of a stream shard, and whether that was all. */
  record Found(List<Record> records, boolean ended) {}

  static DynamoDbClient client;
  static DynamoDbStreamsClient streams;
  static String arn;

  public static void main(String[] words) throws Exception {
    try (DynamoDbClient plain = DynamoDbClient.builder().endpointOverride(ENDPOINT).build();
        DynamoDbStreamsClient ofStreams =
            DynamoDbStreamsClient.builder().endpointOverride(ENDPOINT).build()) {
      client = plain;
      streams = ofStreams;
      enable();
      String busy = ordered();
      positions(busy);
      refused(busy);
      disable();
      client.deleteTable(request -> request.tableName(NAME));
    }
    System.out.println("all of it works");
  }

  static void enable() throws Exception {
    client.createTable(request -> request.tableName(NAME).billingMode(BillingMode.PAY_PER_REQUEST)
        .keySchema(key -> key.attributeName("id").keyType(KeyType.HASH))
        .attributeDefinitions(id -> id.attributeName("id").attributeType(ScalarAttributeType.S)));
    client.waiter().waitUntilTableExists(request -> request.tableName(NAME));
    put("before", 0);
    client.updateTable(request -> request.tableName(NAME).streamSpecification(stream ->
        stream.streamEnabled(true).streamViewType(StreamViewType.NEW_AND_OLD_IMAGES)));
    List<Stream> listed = streams.listStreams(request -> request.tableName(NAME)).streams();
    arn = client.describeTable(request -> request.tableName(NAME)).table().latestStreamArn();
    check(listed.size() == 1 && listed.get(0).streamArn().equals(arn), "one stream");
    eventually("it is enabled", () -> describe().streamStatus() == StreamStatus.ENABLED);
    StreamDescription described = describe();
    check(described.tableName().equals(NAME) && described.keySchema().size() == 1);
    check(described.streamViewType() == StreamViewType.NEW_AND_OLD_IMAGES);
  }

  /** Three changes of each item, in their order and with their images. */
  static String ordered() throws Exception {
    for (int n = 0; n < ITEMS; n++) {
      put("item " + n, 1);
      put("item " + n, 2);
      Map<String, AttributeValue> key = Map.of("id", AttributeValue.fromS("item " + n));
      client.deleteItem(request -> request.tableName(NAME).key(key));
    }
    eventually("all records", () -> all(readAll()).size() >= 3 * ITEMS);
    Map<String, Found> shards = readAll();
    List<Record> records = all(shards);
    check(records.size() == 3 * ITEMS, "each once, and none of an earlier time");
    check(records.stream().map(Record::eventID).distinct().count() == 3 * ITEMS);
    for (int n = 0; n < ITEMS; n++) {
      String id = "item " + n;
      List<Record> mine = records.stream().filter(each -> id(each).equals(id)).toList();
      check(mine.stream().map(Record::eventName).toList().equals(
          List.of(OperationType.INSERT, OperationType.MODIFY, OperationType.REMOVE)), id);
      check(!mine.get(0).dynamodb().hasOldImage() && !mine.get(2).dynamodb().hasNewImage(), id);
      check(mine.get(0).dynamodb().newImage().equals(item(id, 1)), id);
      check(mine.get(1).dynamodb().oldImage().equals(item(id, 1)), id);
      check(mine.get(1).dynamodb().newImage().equals(item(id, 2)), id);
      check(mine.get(2).dynamodb().oldImage().equals(item(id, 2)), id);
      check(mine.stream().allMatch(each -> each.userIdentity() == null));
    }
    check(shards.values().stream().noneMatch(Found::ended), "the shards are open");
    List<String> busy = shards.keySet().stream()
        .filter(name -> !shards.get(name).records().isEmpty()).toList();
    check(busy.size() > 1, "the items are on several shards");
    return busy.get(0);
  }

  static void positions(String shard) throws Exception {
    List<Record> records = readAll().get(shard).records();
    String second = numbers(records).get(1);
    check(from(shard, ShardIteratorType.AT_SEQUENCE_NUMBER, at -> at.sequenceNumber(second))
        .equals(numbers(records).subList(1, records.size())));
    check(from(shard, ShardIteratorType.AFTER_SEQUENCE_NUMBER, at -> at.sequenceNumber(second))
        .equals(numbers(records).subList(2, records.size())));
    Instant start = records.get(0).dynamodb().approximateCreationDateTime();
    check(from(shard, ShardIteratorType.AT_TIMESTAMP, at -> at.timestamp(start))
        .equals(numbers(records)));
    check(from(shard, ShardIteratorType.AT_TIMESTAMP, at -> at.timestamp(start.minusSeconds(99_999)))
        .equals(numbers(records)), "older than all that is kept");

    Thread.sleep(1_100); // so that a second lies between the records before and those after
    Instant now = Instant.now();
    String latest = iterator(shard, ShardIteratorType.LATEST, at -> {});
    String id = id(records.get(0));
    put(id, 3);
    eventually("the last record", () -> read(latest).records().size() == 1);
    List<String> last = numbers(read(latest).records());
    check(from(shard, ShardIteratorType.AT_TIMESTAMP, at -> at.timestamp(now)).equals(last));
    String end = last.get(0);
    check(from(shard, ShardIteratorType.AFTER_SEQUENCE_NUMBER, at -> at.sequenceNumber(end)).isEmpty());
    String one = iterator(shard, ShardIteratorType.TRIM_HORIZON, at -> {});
    GetRecordsResponse page = streams.getRecords(request -> request.shardIterator(one).limit(2));
    check(numbers(page.records()).equals(numbers(records).subList(0, 2)), "a page of two");
  }

  static void refused(String shard) {
    String other = arn.substring(0, arn.length() - 3) + "000";
    refused("ResourceNotFoundException", () -> streams.describeStream(request -> request.streamArn(other)));
    String unknown = "shardId-" + "0".repeat(20) + "-00000000";
    refused("ResourceNotFoundException", () -> iterator(unknown, ShardIteratorType.LATEST, at -> {}));
    refused("ValidationException", () -> iterator(shard, ShardIteratorType.AT_SEQUENCE_NUMBER, at -> {}));
    refused("ValidationException", () -> iterator(shard, ShardIteratorType.LATEST,
        at -> at.sequenceNumber("1" + "0".repeat(20))));
    refused("ValidationException", () -> iterator(shard, ShardIteratorType.AT_TIMESTAMP,
        at -> at.timestamp(Instant.now().plus(Duration.ofHours(1)))));
    refused("ValidationException", () -> streams.getRecords(request -> request.shardIterator("none")));
    String start = iterator(shard, ShardIteratorType.TRIM_HORIZON, at -> {});
    refused("ValidationException", () ->
        streams.getRecords(request -> request.shardIterator(start).limit(1001)));
    refused("ValidationException", () -> client.updateTable(request -> request.tableName(NAME)
        .streamSpecification(stream -> stream.streamEnabled(true)
            .streamViewType(StreamViewType.KEYS_ONLY))));
  }

  /** A stream that is disabled is read to its end. */
  static void disable() throws Exception {
    client.updateTable(request -> request.tableName(NAME)
        .streamSpecification(stream -> stream.streamEnabled(false)));
    put("afterwards", 1);
    eventually("it ends", () -> readAll().values().stream().allMatch(Found::ended));
    check(all(readAll()).size() == 3 * ITEMS + 1, "all records are still there");
    check(describe().streamStatus() == StreamStatus.DISABLED);
    check(describe().shards().stream()
        .allMatch(each -> each.sequenceNumberRange().endingSequenceNumber() != null));
  }

  static StreamDescription describe() {
    return streams.describeStream(request -> request.streamArn(arn)).streamDescription();
  }

  /** All stream shards, two to a page. */
  static List<Shard> shards() {
    List<Shard> found = new ArrayList<>();
    String last = null;
    do {
      String after = last;
      StreamDescription page = streams.describeStream(request -> request.streamArn(arn).limit(2)
          .exclusiveStartShardId(after)).streamDescription();
      found.addAll(page.shards());
      last = page.lastEvaluatedShardId();
    } while (last != null);
    return found;
  }

  /** The records of all stream shards, those of each after those of its parent. */
  static Map<String, Found> readAll() {
    Map<String, Found> found = new LinkedHashMap<>();
    List<Shard> left = shards();
    Set<String> names = new HashSet<>(left.stream().map(Shard::shardId).toList());
    while (!left.isEmpty()) {
      Shard next = left.stream().filter(each -> !names.contains(each.parentShardId()))
          .findFirst().get();
      found.put(next.shardId(), read(iterator(next.shardId(), ShardIteratorType.TRIM_HORIZON, at -> {})));
      names.remove(next.shardId());
      left.remove(next);
    }
    return found;
  }

  /** What an iterator finds until a few pages are empty. */
  static Found read(String iterator) {
    List<Record> found = new ArrayList<>();
    String next = iterator;
    for (int empty = 0; next != null && empty < 3;) {
      String at = next;
      GetRecordsResponse page = streams.getRecords(request -> request.shardIterator(at));
      found.addAll(page.records());
      empty = page.records().isEmpty() ? empty + 1 : 0;
      next = page.nextShardIterator();
    }
    return new Found(found, next == null);
  }

  static String iterator(String shard, ShardIteratorType type,
      Consumer<GetShardIteratorRequest.Builder> more) {
    return streams.getShardIterator(request -> {
      more.accept(request.streamArn(arn).shardId(shard).shardIteratorType(type));
    }).shardIterator();
  }

  static List<String> from(String shard, ShardIteratorType type,
      Consumer<GetShardIteratorRequest.Builder> more) {
    return numbers(read(iterator(shard, type, more)).records());
  }

  static List<Record> all(Map<String, Found> shards) {
    return shards.values().stream().flatMap(each -> each.records().stream()).toList();
  }

  static List<String> numbers(List<Record> records) {
    return records.stream().map(each -> each.dynamodb().sequenceNumber()).toList();
  }

  static String id(Record record) {
    return record.dynamodb().keys().get("id").s();
  }

  static Map<String, AttributeValue> item(String id, int count) {
    return Map.of("id", AttributeValue.fromS(id), "count", AttributeValue.fromN("" + count),
        "parts", AttributeValue.fromSs(List.of("a", "b")));
  }

  static void put(String id, int count) {
    client.putItem(request -> request.tableName(NAME).item(item(id, count)));
  }

  static void refused(String name, Runnable call) {
    try {
      call.run();
    } catch (DynamoDbException expected) {
      check(expected.awsErrorDetails().errorCode().equals(name), expected.getMessage());
      check(!name.startsWith("Resource") || expected instanceof ResourceNotFoundException, name);
      return;
    }
    throw new AssertionError(name + " was expected");
  }

  static void eventually(String what, Callable<Boolean> holds) throws Exception {
    long deadline = System.nanoTime() + 60_000_000_000L;
    while (!holds.call()) {
      check(System.nanoTime() < deadline, "in vain: " + what);
      Thread.sleep(100);
    }
  }

  static void check(boolean holds, String... what) {
    if (!holds) {
      throw new AssertionError(String.join(" ", what));
    }
  }
}
