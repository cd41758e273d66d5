"""Looking after a cluster: proving that indexes are right, mending them, seeing the lag."""

from mynamo.operations.findings import Finding, IndexVerdict, Verdict
from mynamo.operations.lag import IndexLag, LagReport, ShardLag, lag
from mynamo.operations.pipeline import wait_until_applied
from mynamo.operations.repair import RepairReport, repair
from mynamo.operations.verify import verify

__all__ = [
    "Finding",
    "IndexLag",
    "IndexVerdict",
    "LagReport",
    "RepairReport",
    "ShardLag",
    "Verdict",
    "lag",
    "repair",
    "verify",
    "wait_until_applied",
]
