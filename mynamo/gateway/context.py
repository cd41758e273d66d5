"""What operations work with: the cluster that is served, and the call that is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.statistics import Statistics
from mynamo.catalog.tables import Table
from mynamo.gateway.http.messages import Peer
from mynamo.gateway.own_writes import AnsweredWrites, OwnWrites
from mynamo.gateway.policies.policy_decisions import Principal
from mynamo.gateway.provisioned_throughput import Access, CapacityUse, ProvisionedThroughput
from mynamo.reader import Plan, StoredReader
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.gateway_config import GatewayConfig
from mynamo.writer import finish_transaction


class Signer(NamedTuple):
    """Who signed a request.

    Attributes:
        user: the name of the credential; None: its signature was not verified.
        principal: whose policies count for the request; None: it may do everything.
    """

    user: str | None = None
    principal: Principal | None = None


class Sender(NamedTuple):
    """Who sent a request, and from where."""

    signer: Signer
    peer: Peer


@dataclass(slots=True)
class Call:
    """What an operation knows of its call besides the request.

    Attributes:
        operation: DynamoDB's name, such as "PutItem".
        token: the consistency token that came along, or None.
        host: by which the client found this server, with the port.
        size: of its JSON, in bytes.
        answer_headers: for the operation to fill.
        table: that it names, if it names one.
        request_id: by which the answer is known.
        request: its JSON; None: its shape was not checked yet.
        plan: of a query or scan that was answered.
        sender: None: it came from this process, and may do everything.
    """

    operation: str
    token: str | None = None
    host: str = "localhost"
    size: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    table: str | None = None
    request_id: str = ""
    request: Mapping[str, Any] | None = None
    plan: Plan | None = None
    sender: Sender | None = None


class Context:
    """What all calls share. Safe to share between threads.

    Args:
        cluster: whose tables are served.
        config: the gateway's; its region and account number appear in ARNs.
        answered: counts that its processes share; None: it is the only one.
        throughput: that requests are throttled by; None: none are.

    Attributes:
        own_writes: what reads of GSIs wait by; None: they do not wait.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: GatewayConfig,
        answered: AnsweredWrites | None = None,
        throughput: ProvisionedThroughput | None = None,
    ) -> None:
        self.cluster = cluster
        self.reader = StoredReader(cluster, partial(finish_transaction, cluster))
        self.streams = StreamReader(cluster)
        self.statistics = Statistics(cluster)
        self.region = config.region
        self.account_id = config.account_id
        self._throughput = throughput
        self.own_writes: OwnWrites | None = None
        if config.index_reads == "own-writes":
            answered = answered or AnsweredWrites(1, cluster.configured, cluster.partitions)
            self.own_writes = OwnWrites(cluster, answered)

    def capacity_use(self, table: Table, access: Access) -> CapacityUse | None:
        """What a request uses of a table's capacity units; None: nothing throttles it."""
        return None if self._throughput is None else self._throughput.use(table, access)
