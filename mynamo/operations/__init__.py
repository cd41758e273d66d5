"""Operating a cluster: verify and repair of indexes, and the lag."""

from mynamo.operations.comparison_progress import Progress
from mynamo.operations.findings import Finding, IndexVerdict, Unmatched, Verdict
from mynamo.operations.lag import IndexLag, LagReport, ShardLag, lag
from mynamo.operations.pipeline import wait_until_applied
from mynamo.operations.repair import Action, RepairReport, repair
from mynamo.operations.verify import verify

__all__ = [
    "Action",
    "Finding",
    "IndexLag",
    "IndexVerdict",
    "LagReport",
    "Progress",
    "RepairReport",
    "ShardLag",
    "Unmatched",
    "Verdict",
    "lag",
    "repair",
    "verify",
    "wait_until_applied",
]
