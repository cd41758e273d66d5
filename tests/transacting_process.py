"""A process that makes one transaction over several shards, and perhaps dies in it.

Run as `python -m tests.transacting_process CONFIG.toml TOKEN ID...`: adds 1 to `n` of an item of
each hash key in table `orders`, in one transaction. An empty TOKEN: it has none.
"""

from __future__ import annotations

import sys

from mynamo.catalog.cluster import Cluster
from mynamo.producer import Producer, Update
from mynamo.schemas.config import ClusterConfig


def main() -> None:
    """Do it."""
    path, token, *ids = sys.argv[1:]
    with Cluster(ClusterConfig.load(path)) as cluster, Producer(cluster) as producer:
        producer.transact(
            [
                Update("orders", {"id": each, "at": "1"}, "ADD n :one", values={":one": 1})
                for each in ids
            ],
            request_token=token or None,
        )


if __name__ == "__main__":
    main()
