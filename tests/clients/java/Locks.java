// A program that uses the DynamoDB lock client for Java; test_compiled.py runs it.

import com.amazonaws.services.dynamodbv2.AcquireLockOptions;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClient;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClientOptions;
import com.amazonaws.services.dynamodbv2.CreateDynamoDBTableOptions;
import com.amazonaws.services.dynamodbv2.LockItem;
import com.amazonaws.services.dynamodbv2.model.LockCurrentlyUnavailableException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.ProvisionedThroughput;

public class Locks {
  static final String TABLE = "locks-" + UUID.randomUUID().toString().substring(0, 8);

  public static void main(String[] words) throws Exception {
    DynamoDbClient client = DynamoDbClient.builder()
        .endpointOverride(URI.create(System.getenv("DYNAMO_ENDPOINT"))).build();
    ProvisionedThroughput throughput =
        ProvisionedThroughput.builder().readCapacityUnits(5L).writeCapacityUnits(5L).build();
    AmazonDynamoDBLockClient.createLockTableInDynamoDB(CreateDynamoDBTableOptions
        .builder(client, throughput, TABLE).build());
    client.waiter().waitUntilTableExists(request -> request.tableName(TABLE));

    AmazonDynamoDBLockClient ann = locks(client, "ann", 60_000, true);
    AmazonDynamoDBLockClient bob = locks(client, "bob", 60_000, false);
    ann.assertLockTableExists();
    LockItem held = ann.acquireLock(options("job").withData(bytes("by ann")).build());
    check(bob.getLock("job", Optional.empty()).get().getOwnerName().equals("ann"), "bob sees it");
    try {
      bob.acquireLock(options("job").withShouldSkipBlockingWait(true).build());
      throw new AssertionError("two had one lock");
    } catch (LockCurrentlyUnavailableException expected) {
      // That is what a lock is for.
    }

    String before = held.getRecordVersionNumber();
    ann.sendHeartbeat(held);
    check(!held.getRecordVersionNumber().equals(before), "a heartbeat renews the version");
    before = held.getRecordVersionNumber();
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (held.getRecordVersionNumber().equals(before)) {
      check(System.nanoTime() < deadline, "no heartbeat in the background");
      Thread.sleep(50);
    }
    check(ann.getAllLocksFromDynamoDB(true).count() == 1, "one lock");
    check(ann.releaseLock(held), "released");

    // One that is released, and its data, is taken over at once.
    LockItem next = bob.acquireLock(options("job").withReplaceData(false).build());
    check(text(next.getData().get()).equals("by ann"), "the data of the lock stayed");
    check(bob.hasLock("job", Optional.empty()) && !ann.hasLock("job", Optional.empty()));
    next.close();

    // One whose owner stopped is taken over when the lease is over.
    AmazonDynamoDBLockClient dead = locks(client, "dead", 1_000, false);
    check(dead.tryAcquireLock(options("other").build()).isPresent());
    LockItem taken = ann.acquireLock(options("other").withRefreshPeriod(100L)
        .withAdditionalTimeToWaitForLock(30_000L).withTimeUnit(TimeUnit.MILLISECONDS).build());
    check(taken.getOwnerName().equals("ann") && !taken.isExpired());
    ann.close();
    bob.close();
    client.deleteTable(request -> request.tableName(TABLE));
    client.close();
    System.out.println("all of it works");
    System.exit(0); // the client that died holds its threads
  }

  static AmazonDynamoDBLockClient locks(
      DynamoDbClient client, String owner, long lease, boolean heartbeat) {
    return new AmazonDynamoDBLockClient(AmazonDynamoDBLockClientOptions.builder(client, TABLE)
        .withOwnerName(owner).withTimeUnit(TimeUnit.MILLISECONDS).withLeaseDuration(lease)
        .withHeartbeatPeriod(300L).withCreateHeartbeatBackgroundThread(heartbeat).build());
  }

  static AcquireLockOptions.AcquireLockOptionsBuilder options(String key) {
    return AcquireLockOptions.builder(key).withDeleteLockOnRelease(false);
  }

  static ByteBuffer bytes(String text) {
    return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
  }

  static String text(ByteBuffer bytes) {
    return StandardCharsets.UTF_8.decode(bytes).toString();
  }

  static void check(boolean holds, String... what) {
    if (!holds) {
      throw new AssertionError(String.join(" ", what));
    }
  }
}
