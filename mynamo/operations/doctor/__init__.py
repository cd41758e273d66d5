"""What is wrong with a cluster's configuration, servers and settings: `mynamo doctor`."""

from mynamo.operations.doctor.diagnosis import Check, Status, worst
from mynamo.operations.doctor.examination import examine
from mynamo.operations.doctor.rights import ROLES, Role

__all__ = ["ROLES", "Check", "Role", "Status", "examine", "worst"]
