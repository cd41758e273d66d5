"""Operating a cluster: verify and repair of indexes, the lag, shards that come and go."""

from mynamo.catalog.members import add_shard
from mynamo.operations.comparison_progress import Progress
from mynamo.operations.findings import Finding, IndexVerdict, Unmatched, Verdict
from mynamo.operations.lag import IndexLag, LagReport, ShardLag, lag
from mynamo.operations.leaving import remove_shard
from mynamo.operations.pipeline import wait_until_applied
from mynamo.operations.repair import Action, RepairReport, repair
from mynamo.operations.resharding.mover import Moved
from mynamo.operations.resharding.mover import Report as MoveProgress
from mynamo.operations.resharding.plan import PlannedMove
from mynamo.operations.resharding.rebalance import (
    cancel_move,
    drain,
    move_slots,
    planned_moves,
    rebalance,
)
from mynamo.operations.resharding.rebalance import resume as resume_moves
from mynamo.operations.shard_list import ShardReport, list_shards
from mynamo.operations.verify import verify

__all__ = [
    "Action",
    "Finding",
    "IndexLag",
    "IndexVerdict",
    "LagReport",
    "MoveProgress",
    "Moved",
    "PlannedMove",
    "Progress",
    "RepairReport",
    "ShardLag",
    "ShardReport",
    "Unmatched",
    "Verdict",
    "add_shard",
    "cancel_move",
    "drain",
    "lag",
    "list_shards",
    "move_slots",
    "planned_moves",
    "rebalance",
    "remove_shard",
    "repair",
    "resume_moves",
    "verify",
    "wait_until_applied",
]
