"""The models of transactions across shards, checked exhaustively by Spin where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, large, needs_spin

WRITING = MODELS / "transaction.pml"
TOKENS = MODELS / "transact_token.pml"
READING = MODELS / "transact_get.pml"
READING_ABSENT = MODELS / "transact_get_absent.pml"
ENABLING = MODELS / "enabling.pml"
CLEANED = ["-DTRANSACTIONS=1", "-DWRITES=0", "-DRESOLVERS=2", "-DRAISES=2"]
RESTORED = ["-DTRANSACTIONS=1", "-DRESTORE"]
UNNOTICED = ["-DTRANSACTIONS=1", "-DWRITES=0", "-DRESTORE", "-DUNNOTICED"]
ONE_READ = ["-DWRITES=0", "-DREADS=1"]
pytestmark = needs_spin


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-DWRITES=0"], id="two transactions"),
        pytest.param(["-DTRANSACTIONS=1", "-DDELETES"], id="beside a writer that deletes"),
        pytest.param(["-DRETRY", "-DDELETES"], id="another attempt"),
        pytest.param(["-DWRITES=0", "-DCHECK"], id="a check on another shard"),
        pytest.param(["-DWRITES=0", "-DOWN_CHECK"], id="a check on the deciding shard"),
        pytest.param(CLEANED, id="decisions cleaned up"),
        pytest.param(RESTORED, id="the deciding shard restored"),
        pytest.param(UNNOTICED, id="and nobody notices for a time"),
        pytest.param([], id="two and a writer", marks=large),
        pytest.param(["-DDELETES"], id="deletions", marks=large),
        pytest.param(["-DCHECK"], id="a check, and a writer", marks=large),
        pytest.param(["-DRESOLVERS=2", "-DWRITES=0"], id="late resolvers", marks=large),
        pytest.param([*RESTORED, "-DRESOLVERS=2"], id="restored, late resolvers", marks=large),
        pytest.param(["-DSHARDS=3", "-DWRITES=0", "-DRETRY"], id="three shards", marks=large),
        pytest.param(
            ["-DTRANSACTIONS=1", "-DRAISES=2"], id="cleaned up, and a writer", marks=large
        ),
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
    assert is_wrong(WRITING, tmp_path, *options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="one shard"),
        pytest.param(["-DATTEMPTS=3"], id="three attempts", marks=large),
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
    assert is_wrong(TOKENS, tmp_path, *options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(ONE_READ, id="one read"),
        pytest.param([*ONE_READ, "-DMOVE"], id="beside a move", marks=large),
        pytest.param(["-DWRITES=0"], id="two reads", marks=large),
        pytest.param(["-DREADS=1"], id="beside a writer", marks=large),
    ],
)
def test_reads_of_several_items_see_one_moment(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(READING, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DONE_LOOK"],
        ["-DNO_DECISION"],
        ["-DLATE_DECISION"],
        ["-DMASKED"],
        ["-DMOVE", "-DNO_GUARD"],
        ["-DEARLY_CLEAN"],
        ["-DREACHED"],
    ],
    ids=" ".join,
)
def test_control_reading_needs_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert is_wrong(READING, tmp_path, *ONE_READ, *options)


def test_reads_of_absent_items_see_one_moment(tmp_path: Path) -> None:
    assert errors_of(READING_ABSENT, tmp_path) == 0


@pytest.mark.parametrize("without", ["NO_DELETES", "OUTBOX_FIRST", "ID_LATER", "REACHED"])
def test_control_reading_absent_items_needs_deletes(tmp_path: Path, without: str) -> None:
    assert is_wrong(READING_ABSENT, tmp_path, f"-D{without}")


def test_no_process_of_an_older_release_meets_an_intent(tmp_path: Path) -> None:
    assert errors_of(ENABLING, tmp_path) == 0


@pytest.mark.parametrize(
    "without",
    ["FORMAT_ONLY", "UNGUARDED", "GUARD_FIRST", "NO_OLDEST", "LATE_OLDEST", "REACHED"],
)
def test_control_enabling_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert is_wrong(ENABLING, tmp_path, f"-D{without}")
