// A program that uses the Kinesis Client Library with the DynamoDB Streams adapter: two workers that
// share a stream's shards; test_compiled.py runs it. With the word "moves" it prints a line when slots
// should move to other shards, and goes on when it gets one.

import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.adapter.DynamoDBStreamsClientRecord;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.BillingMode;
import software.amazon.awssdk.services.dynamodb.model.KeyType;
import software.amazon.awssdk.services.dynamodb.model.ScalarAttributeType;
import software.amazon.awssdk.services.dynamodb.model.Shard;
import software.amazon.awssdk.services.dynamodb.model.StreamRecord;
import software.amazon.awssdk.services.dynamodb.model.StreamViewType;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.KinesisClientLibException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;

public class Consumers {
  static final URI ENDPOINT = URI.create(System.getenv("DYNAMO_ENDPOINT"));
  static final String NAME = "counters-" + UUID.randomUUID().toString().substring(0, 8);
  static final String APPLICATION = NAME + "-readers"; // also the name of the table of leases
  static final int ITEMS = 40;

  static final DynamoDbClient client = DynamoDbClient.builder().endpointOverride(ENDPOINT).build();
  static final DynamoDbStreamsClient streams =
      DynamoDbStreamsClient.builder().endpointOverride(ENDPOINT).build();
  static final DynamoDbAsyncClient leases =
      DynamoDbAsyncClient.builder().endpointOverride(ENDPOINT).build();
  static final CloudWatchAsyncClient unused =
      CloudWatchAsyncClient.builder().endpointOverride(ENDPOINT).build();
  static final Seen seen = new Seen();
  static String arn;

  public static void main(String[] words) {
    try {
      run(words);
      System.out.println("all of it works");
      System.exit(0); // whatever threads the library has left
    } catch (Throwable failure) {
      failure.printStackTrace();
      System.exit(1);
    }
  }

  static void run(String[] words) throws Exception {
    client.createTable(request -> request.tableName(NAME).billingMode(BillingMode.PAY_PER_REQUEST)
        .keySchema(key -> key.attributeName("id").keyType(KeyType.HASH))
        .attributeDefinitions(id -> id.attributeName("id").attributeType(ScalarAttributeType.S))
        .streamSpecification(stream -> stream.streamEnabled(true)
            .streamViewType(StreamViewType.NEW_AND_OLD_IMAGES)));
    client.waiter().waitUntilTableExists(request -> request.tableName(NAME));
    arn = client.describeTable(request -> request.tableName(NAME)).table().latestStreamArn();

    Writer writer = new Writer();
    writer.start();
    Worker ann = new Worker("ann");
    eventually("ann reads all shards", () -> seen.atLeast(3) && seen.shardsOf("ann") == shards().size());
    check(seen.again() == 0, "ann was given a change twice");

    Worker bob = new Worker("bob");
    eventually("bob reads a shard", () -> seen.shardsOf("bob") > 0);

    if (words.length > 0) {
      System.out.println("slots should move");
      System.in.read();
      Set<String> ended = new TreeSet<>(shards().stream().filter(Consumers::hasEnded)
          .map(Shard::shardId).toList());
      check(ended.size() > 1, "stream shards have ended");
      eventually("they are read to their end", () -> seen.ended().equals(ended));
    }
    writer.end();
    eventually("all changes", () -> seen.atLeast(writer.last()));
    ann.end();
    bob.end();
    check(seen.atMost(writer.last()), "no change was made up");
    if (words.length > 0) {
      leasesAreOfTheStream();
    }
    for (String suffix : List.of("", "-WorkerMetricStats", "-CoordinatorState")) {
      client.deleteTable(request -> request.tableName(APPLICATION + suffix));
    }
    client.deleteTable(request -> request.tableName(NAME));
  }

  /** The library has a lease for each stream shard, and knows which were read to their end. */
  static void leasesAreOfTheStream() {
    Map<String, String> found = new TreeMap<>();
    client.scanPaginator(request -> request.tableName(APPLICATION)).items().forEach(lease ->
        found.put(lease.get("leaseKey").s(), lease.get("checkpoint").s()));
    for (Shard shard : shards()) {
      boolean wasRead = "SHARD_END".equals(found.get(shard.shardId()));
      check(wasRead == hasEnded(shard), shard + ": " + found);
    }
  }

  static List<Shard> shards() {
    return streams.describeStream(request -> request.streamArn(arn)).streamDescription().shards();
  }

  static boolean hasEnded(Shard shard) {
    return shard.sequenceNumberRange().endingSequenceNumber() != null;
  }

  /** Counts in each item. */
  static class Writer extends Thread {
    private volatile boolean goOn = true;
    private volatile int last;

    @Override
    public void run() {
      while (goOn) {
        int count = last + 1;
        for (int n = 0; n < ITEMS; n++) {
          Map<String, AttributeValue> item = Map.of("id", AttributeValue.fromS("item " + n),
              "count", AttributeValue.fromN("" + count));
          client.putItem(request -> request.tableName(NAME).item(item));
        }
        last = count;
        pause(300);
      }
    }

    void end() throws InterruptedException {
      goOn = false;
      join();
    }

    int last() {
      return last;
    }
  }

  /** What the workers were given. */
  static class Seen {
    private final Map<String, Integer> counts = new TreeMap<>();
    private final Map<String, Set<String>> shards = new TreeMap<>();
    private final Set<String> ended = new TreeSet<>();
    private final List<String> wrong = new ArrayList<>();
    private int again;

    synchronized void add(String worker, String shard, StreamRecord change) {
      String id = change.keys().get("id").s();
      int count = count(change.newImage());
      int before = counts.getOrDefault(id, 0);
      if (count > before + 1 || count(change.oldImage()) != count - 1) {
        wrong.add(id + " after " + before + ": " + change);
      }
      again += count <= before ? 1 : 0;
      counts.put(id, Math.max(before, count));
      shards.computeIfAbsent(worker, key -> new TreeSet<>()).add(shard);
    }

    private static int count(Map<String, AttributeValue> image) {
      return image.isEmpty() ? 0 : Integer.parseInt(image.get("count").n());
    }

    synchronized void end(String shard) {
      ended.add(shard);
    }

    synchronized void fail(String what) {
      wrong.add(what);
    }

    synchronized boolean atLeast(int count) {
      check(wrong.isEmpty(), wrong.toString());
      return counts.size() == ITEMS && counts.values().stream().allMatch(each -> each >= count);
    }

    synchronized boolean atMost(int count) {
      check(wrong.isEmpty(), wrong.toString());
      return counts.values().stream().allMatch(each -> each <= count);
    }

    synchronized int shardsOf(String worker) {
      return shards.getOrDefault(worker, Set.of()).size();
    }

    synchronized Set<String> ended() {
      return new TreeSet<>(ended);
    }

    synchronized int again() {
      return again;
    }

    @Override
    public synchronized String toString() {
      return "counts " + counts + ", by " + shards + ", ended " + ended + ", again " + again;
    }
  }

  /** A worker of the library, with intervals for tests. */
  static class Worker {
    private final Scheduler scheduler;

    Worker(String name) {
      AmazonDynamoDBStreamsAdapterClient adapter =
          new AmazonDynamoDBStreamsAdapterClient(streams, streams.serviceClientConfiguration().region());
      ConfigsBuilder configs = new ConfigsBuilder(
          StreamsSchedulerFactory.createSingleStreamTracker(arn, InitialPositionInStreamExtended
              .newInitialPosition(InitialPositionInStream.TRIM_HORIZON)),
          APPLICATION, adapter, leases, unused, name, () -> new Processor(name));
      LeaseManagementConfig ofLeases = configs.leaseManagementConfig()
          .failoverTimeMillis(6_000).leaseAssignmentIntervalMillis(1_000L).shardSyncIntervalMillis(500)
          .billingMode(BillingMode.PAY_PER_REQUEST);
      ofLeases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true)
          .workerMetricsReporterFreqInMillis(1_000).varianceBalancingFrequency(1);
      scheduler = StreamsSchedulerFactory.createScheduler(configs.checkpointConfig(),
          configs.coordinatorConfig().parentShardPollIntervalMillis(500)
              .shardConsumerDispatchPollIntervalMillis(200),
          ofLeases, configs.lifecycleConfig(),
          configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
          configs.processorConfig(),
          configs.retrievalConfig().retrievalSpecificConfig(
              new DynamoDBStreamsPollingConfig(arn, adapter).idleTimeBetweenReadsInMillis(300)),
          adapter);
      Thread thread = new Thread(scheduler, name);
      thread.setDaemon(true);
      thread.start();
    }

    void end() throws Exception {
      check(scheduler.startGracefulShutdown().get(60, TimeUnit.SECONDS), "it did not end");
    }
  }

  /** Reads a stream shard for a worker. */
  static class Processor implements DynamoDBStreamsShardRecordProcessor {
    private final String worker;
    private String shard;

    Processor(String worker) {
      this.worker = worker;
    }

    @Override
    public void initialize(InitializationInput input) {
      shard = input.shardId();
    }

    @Override
    public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
      for (DynamoDBStreamsClientRecord record : input.records()) {
        seen.add(worker, shard, record.getRecord().dynamodb());
      }
      if (!input.records().isEmpty()) {
        checkpoint(input.checkpointer());
      }
    }

    @Override
    public void leaseLost(LeaseLostInput input) {} // another worker has it

    @Override
    public void shardEnded(ShardEndedInput input) {
      checkpoint(input.checkpointer());
      seen.end(shard);
    }

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {
      checkpoint(input.checkpointer());
    }

    private void checkpoint(RecordProcessorCheckpointer checkpointer) {
      try {
        checkpointer.checkpoint();
      } catch (ShutdownException lost) {
        // Another worker has the lease and reads these records again.
      } catch (KinesisClientLibException failure) {
        seen.fail(failure.toString());
      }
    }
  }

  static void eventually(String what, Callable<Boolean> holds) throws Exception {
    long deadline = System.nanoTime() + 120_000_000_000L;
    while (!holds.call()) {
      check(System.nanoTime() < deadline, "in vain: " + what + "; " + seen);
      pause(100);
    }
  }

  static void pause(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException stopped) {
      throw new AssertionError(stopped);
    }
  }

  static void check(boolean holds, String... what) {
    if (!holds) {
      throw new AssertionError(String.join(" ", what));
    }
  }
}
