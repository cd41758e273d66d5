"""Earlier releases, as git has them, to run beside this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mynamo

ROOT = Path(mynamo.__file__).parents[1]
PREVIOUS = "be07eba"
"""The last commit before the shards' control tables had numbered migrations."""
FORMAT_2 = "62624e1"
"""The last commit that knows catalogs up to format 2. Its reads look at the slot guard; those of
`PREVIOUS` do not."""
FORMAT_3 = "0f4e1ba"
"""The last commit that knows catalogs up to format 3."""
FORMAT_4 = "91ed780"
"""The last commit that knows catalogs up to format 4."""
FORMAT_5 = "6313e91"
"""The last commit that knows catalogs up to format 5."""
WITHOUT_TRACES = "4b780e9"
"""The last commit that knows of no traces."""


def why_no_release(reference: str = PREVIOUS) -> str | None:
    """Why an earlier release cannot be had, or None if it can."""
    asking = ["git", "-C", str(ROOT), "cat-file", "-e", f"{reference}^{{commit}}"]
    try:
        there = subprocess.run(asking, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return "git is not installed"
    return None if there else f"the history has no commit {reference}: clone without --depth"


def check_out(folder: Path, reference: str = PREVIOUS) -> Path:
    """Put the files of an earlier release into a folder; returns where its packages are.

    Raises:
        subprocess.CalledProcessError: git does not have it.
    """
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", reference, "mynamo", "tests"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def make_table(release: Path, config_file: Path) -> None:
    """Let an earlier release set up a cluster, and make the workload's table.

    Args:
        release: where its packages are.

    Raises:
        subprocess.CalledProcessError: it could not.
    """
    making = (
        "import sys; from mynamo.schemas.config import ClusterConfig;"
        " from tests.faults.workload import ensure_table;"
        " ensure_table(ClusterConfig.load(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", making, str(config_file)],
        env={**os.environ, "PYTHONPATH": str(release)}, cwd=release, check=True, timeout=60,
    )  # fmt: skip
