"""The models of transactions across shards, checked exhaustively by Spin where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, large, needs_spin

WRITING = MODELS / "transaction.pml"
TOKENS = MODELS / "transact_token.pml"
READING = MODELS / "transact_get.pml"
READING_ABSENT = MODELS / "transact_get_absent.pml"
ENABLING = MODELS / "enabling.pml"
CLEANED = ["-DTRANSACTIONS=1", "-DRESOLVERS=2", "-DRAISES=2"]
RESTORED = ["-DTRANSACTIONS=1", "-DRESOLVERS=2", "-DRESTORE"]
UNNOTICED = ["-DTRANSACTIONS=1", "-DWRITES=0", "-DRESTORE", "-DUNNOTICED"]
pytestmark = needs_spin


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="two shards"),
        pytest.param(["-DDELETES"], id="deletions"),
        pytest.param(["-DRETRY", "-DDELETES"], id="another attempt"),
        pytest.param(["-DCHECK"], id="a check on another shard"),
        pytest.param(["-DOWN_CHECK"], id="a check on the deciding shard"),
        pytest.param(["-DRESOLVERS=2", "-DWRITES=0"], id="late resolvers"),
        pytest.param(["-DSHARDS=3", "-DWRITES=0"], id="three shards", marks=large),
        pytest.param(CLEANED, id="decisions cleaned up"),
        pytest.param(["-DRAISES=2", "-DWRITES=0"], id="two of them, cleaned up", marks=large),
        pytest.param(RESTORED, id="the deciding shard restored"),
        pytest.param(UNNOTICED, id="and nobody notices for a time"),
    ],
)
def test_transactions_happen_once_and_whole(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(WRITING, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DNO_UNIQUE"],
        ["-DREPEATED"],
        ["-DIGNORED"],
        ["-DKEPT"],
        ["-DNO_PLACEHOLDER"],
        ["-DOWN_CHECK", "-DNO_OWN"],
        ["-DEARLY"],
        ["-DNO_ABORTED"],
        ["-DLOOSE"],
        ["-DNO_RESOLVER"],
        ["-DSOON"],
        ["-DREACHED"],
        [*CLEANED, "-DNO_GENERATION"],
        [*CLEANED, "-DNEWER"],
        [*CLEANED, "-DANY_GENERATION"],
        [*CLEANED, "-DYOUNG"],
        [*CLEANED, "-DEARLY_CLEAN"],
        [*RESTORED, "-DNO_JUMP"],
        [*UNNOTICED, "-DSMALL_JUMP"],
        [*UNNOTICED, "-DNO_LOWER"],
        [*UNNOTICED, "-DIMPATIENT"],
        [*UNNOTICED, "-DDECISION_FIRST"],
    ],
    ids=" ".join,
)
def test_control_writing_needs_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(WRITING, tmp_path, *options) > 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="one shard"),
        pytest.param(["-DATTEMPTS=3"], id="three attempts"),
        pytest.param(["-DSEVERAL"], id="several shards"),
    ],
)
def test_a_request_with_a_token_happens_once(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(TOKENS, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DNO_LOOK"],
        ["-DNO_GENERATION"],
        ["-DONLY_SEEN"],
        ["-DONLY_OLDER"],
        ["-DOLDER"],
        ["-DREACHED"],
        ["-DSEVERAL", "-DNEWER"],
        ["-DSEVERAL", "-DNO_LAST_LOOK"],
        ["-DSEVERAL", "-DNO_LAST_GENERATION"],
        ["-DSEVERAL", "-DGENERATION_FIRST"],
        ["-DSEVERAL", "-DUNAPPLIED"],
    ],
    ids=" ".join,
)
def test_control_tokens_need_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(TOKENS, tmp_path, *options) > 0


@large
@pytest.mark.parametrize("options", [[], ["-DSHARDS=3", "-DREADS=1", "-DWRITES=0"]], ids=" ".join)
def test_reads_of_several_items_see_one_moment(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(READING, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "without",
    ["ONE_LOOK", "NO_DECISION", "LATE_DECISION", "MASKED", "NO_GUARD", "EARLY_CLEAN", "REACHED"],
)
def test_control_reading_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert errors_of(READING, tmp_path, f"-D{without}") > 0


def test_reads_of_absent_items_see_one_moment(tmp_path: Path) -> None:
    assert errors_of(READING_ABSENT, tmp_path) == 0


@pytest.mark.parametrize("without", ["NO_DELETES", "OUTBOX_FIRST", "ID_LATER", "REACHED"])
def test_control_reading_absent_items_needs_deletes(tmp_path: Path, without: str) -> None:
    assert errors_of(READING_ABSENT, tmp_path, f"-D{without}") > 0


def test_no_process_of_an_older_release_meets_an_intent(tmp_path: Path) -> None:
    assert errors_of(ENABLING, tmp_path) == 0


@pytest.mark.parametrize(
    "without",
    ["FORMAT_ONLY", "UNGUARDED", "GUARD_FIRST", "NO_OLDEST", "LATE_OLDEST", "REACHED"],
)
def test_control_enabling_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert errors_of(ENABLING, tmp_path, f"-D{without}") > 0
