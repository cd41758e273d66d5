"""Servers on this machine, for trying mynamo out and for its tests.

`LocalCluster` runs one private MySQL or MariaDB server per shard and a broker, all in one
folder; `python -m mynamo.local.fetch` downloads the servers that are not installed.
"""

import mynamo.kafka_import  # noqa: F401  (before anything imports kafka)
from mynamo.local.broker import Broker
from mynamo.local.embedded import EmbeddedBroker
from mynamo.local.engines import Engine, EngineKind, find_engine
from mynamo.local.kafka import ApacheKafka
from mynamo.local.local_cluster import LocalCluster
from mynamo.local.mysql import LocalMySQL
from mynamo.local.ports import free_port

__all__ = [
    "ApacheKafka",
    "Broker",
    "EmbeddedBroker",
    "Engine",
    "EngineKind",
    "LocalCluster",
    "LocalMySQL",
    "find_engine",
    "free_port",
]
