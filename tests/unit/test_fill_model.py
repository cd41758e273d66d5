"""The model of how a GSI is filled, checked exhaustively by Spin where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[1] / "models" / "fill.pml"


def errors_of(folder: Path, *options: str, model: Path = MODEL) -> int:
    """How many errors Spin finds in a model, in all that can happen."""
    if not (shutil.which("spin") and shutil.which("gcc")):
        pytest.skip("the models of tests/models are checked where `spin` and gcc are")
    subprocess.run(["spin", *options, "-a", str(model)], cwd=folder, check=True, timeout=60)
    compiling = ["gcc", "-O2", "-DSAFETY", "-o", "pan", "pan.c"]
    subprocess.run(compiling, cwd=folder, check=True, timeout=120)
    checking = ["./pan", "-m100000", "-E"]
    done = subprocess.run(
        checking, cwd=folder, check=False, timeout=600, capture_output=True, text=True
    )
    assert "max search depth too small" not in done.stdout
    return int(done.stdout.partition("errors: ")[2].split()[0])


def test_a_filled_index_is_right_whatever_happens_when(tmp_path: Path) -> None:
    assert errors_of(tmp_path, "-DENDED=1") == 0


@pytest.mark.parametrize("without", ["NO_LOCK", "NO_COMPARE", "NO_PROOF", "EARLY", "REACHED"])
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert errors_of(tmp_path, f"-D{without}") > 0
