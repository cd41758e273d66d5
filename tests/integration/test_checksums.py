"""The servers' fingerprints are those that this process computes, whatever the bytes."""

from __future__ import annotations

import random

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import IndexKey, RowKey
from mynamo.operations import comparison_statements
from mynamo.operations.checksums import bucket_of, global_checksum, local_checksum
from mynamo.operations.comparison_statements import Span
from mynamo.schemas.config import ClusterConfig
from tests.operations import fill

numbers = random.Random(7)
SORTS = [b"", b"\0", b"\xff" * 1024, b"a/b", "ü€".encode(), b"1", b"12/", numbers.randbytes(300)]
ITEMS = [b"", b"{}", b"\0\xff'\\\"", "ü€".encode(), numbers.randbytes(400_000)]
WHOLE = Span(bytes(16), None)


def test_servers_compute_the_same(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        table = fill(cluster, ())
        shard = cluster.shards[2]
        local, by_name = table.index("by_price"), table.index("by_name")
        rows, expected = [], []
        for position, sort in enumerate(SORTS):
            row = RowKey(numbers.randbytes(16), sort)
            key = IndexKey(numbers.randbytes(16), SORTS[-1 - position])
            version = (1, 2**63, 10**6)[position % 3]
            item = ITEMS[position % len(ITEMS)]
            rows.append((*key, *row, version, item))
            number = global_checksum(2, key, row, version, item)
            expected.append((bucket_of(row.hash) << 64 | number).to_bytes(10, "big"))
            for index, values in ((by_name, rows[-1]), (local, (row.hash, key.sort, sort))):
                into = f"INSERT INTO {sql.index_table(index)} VALUES ({sql.placeholders(values)})"
                shard.run((into, values))
        found = shard.run(comparison_statements.index_digests(by_name, 2, WHOLE, 100))[0].rows
        assert sorted(digest for (digest,) in found) == sorted(expected)
        digests = []
        for _, index_sort, h, sort, _, _ in rows:
            number = local_checksum(2, RowKey(h, sort), index_sort)
            digests.append((bucket_of(h) << 64 | number).to_bytes(10, "big"))
        found = shard.run(comparison_statements.index_digests(local, 2, WHOLE, 100))[0].rows
        assert sorted(digest for (digest,) in found) == sorted(digests)
        # A row that lies on another shard than the one that was asked is another one.
        found = shard.run(comparison_statements.index_digests(by_name, 1, WHOLE, 100))[0].rows
        assert not {digest for (digest,) in found} & set(expected)
