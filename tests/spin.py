"""Checking the models of protocols exhaustively with Spin (`apt-get install spin gcc`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "models"

needs_spin = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")),
    reason="the models of tests/models are checked where `spin` and gcc are",
)

large = pytest.mark.skipif(
    "MYNAMO_ALL_MODELS" not in os.environ,
    reason="takes up to a minute: `make check-models` runs it",
)


def errors_of(model: Path, folder: Path, *options: str) -> int:
    """How many errors Spin finds in a model, in all that can happen."""
    return _check(model, folder, options, "-O1")


def is_wrong(model: Path, folder: Path, *options: str) -> bool:
    """Whether Spin finds an error in a model that lacks something: mostly at once, so that it would
    take longer to make the compiler optimise."""
    return _check(model, folder, options, "-O0") > 0


def _check(model: Path, folder: Path, options: Sequence[str], optimise: str) -> int:
    subprocess.run(["spin", *options, "-a", str(model)], cwd=folder, check=True, timeout=60)
    compiling = ["gcc", optimise, "-DSAFETY", "-w", "-o", "pan", "pan.c"]
    subprocess.run(compiling, cwd=folder, check=True, timeout=120)
    checking = ["./pan", "-m200000", "-E"]
    done = subprocess.run(
        checking, cwd=folder, check=False, timeout=600, capture_output=True, text=True
    )
    assert "max search depth too small" not in done.stdout
    return int(done.stdout.partition("errors: ")[2].split()[0])
