"""The models of how slots move, checked exhaustively by Spin where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, large, needs_spin

ITEMS = MODELS / "moving.pml"
INDEXES = MODELS / "moving_index.pml"
TOKENS = MODELS / "moving_token.pml"
QUEUED = ["-DQUEUE", "-DWRITES=1", "-DMOVERS=1"]
IN_TRANSACTION = ["-DTRANSACTION", "-DWRITES=1", "-DMOVERS=1"]
AND_BACK = ["-DBACK", "-DWRITES=1", "-DBACKS=0"]
CANCELLED = ["-DMOVES=2", "-DCANCELS=1", "-DWRITES=0", "-DBACKS=0", "-DENDED=0"]
AND_AGAIN = [*AND_BACK, "-DMOVES=3", "-DENDED=0", "-DTOKENS"]
STEADY = ["-DBACKS=0"]
FORGOTTEN = ["-DRAISES=3", "-DTARGET_RAISES=1"]
AWAY = ["-DAWAY", "-DBACKS=0", "-DINDEXERS=1"]
pytestmark = needs_spin


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-DWRITES=1"], id="two movers", marks=large),
        pytest.param(["-DMOVERS=1"], id="one mover, two writes"),
        pytest.param(QUEUED, id="a queued write", marks=large),
        pytest.param(IN_TRANSACTION, id="a transaction"),
        pytest.param(AND_BACK, id="there and back", marks=large),
        pytest.param(CANCELLED, id="a move that is cancelled, and another one"),
        pytest.param(AND_AGAIN, id="there, back and there again", marks=large),
        pytest.param([*AND_BACK, "-DNO_TAKE_DONE"], id="no second fence", marks=large),
        pytest.param(
            ["-DMOVERS=3", "-DWRITES=0", "-DBACKS=0", "-DENDED=0"], id="three movers", marks=large
        ),
        pytest.param([], id="two movers, two writes", marks=large),
        pytest.param(["-DQUEUE", "-DMOVERS=1"], id="a queued write beside two", marks=large),
        pytest.param(
            ["-DTRANSACTION", "-DWRITES=1", "-DBACKS=0", "-DENDED=0"],
            id="a transaction, two movers",
            marks=large,
        ),
    ],
)
def test_items_that_move_lose_nothing(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(ITEMS, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DNO_EPOCH"],
        ["-DNO_READ_EPOCH"],
        ["-DMOVERS=1", "-DNO_START"],
        ["-DNO_WAIT"],
        ["-DNO_LOG"],
        ["-DLOG_LAST"],
        ["-DNO_FENCE"],
        ["-DNO_STOP"],
        ["-DNO_DRAIN"],
        ["-DNO_IDS"],
        ["-DNO_CLOSE"],
        ["-DANY_MOVER"],
        ["-DNO_TERM"],
        ["-DBLIND", "-DWRITES=1", "-DMOVERS=1"],
        ["-DREACHED"],
        [*QUEUED, "-DNO_COMMANDS"],
        [*IN_TRANSACTION, "-DNO_INTENTS"],
        [*IN_TRANSACTION, "-DOLD_INTENTS"],
        [*AND_BACK, "-DNO_CLEAN_FENCE"],
        [*AND_BACK, "-DNO_TERM"],
        [*AND_BACK, "-DFORGET"],
        [*AND_BACK, "-DNO_COMPARE"],
        [*CANCELLED, "-DNO_TAKE_CANCELLED"],
        [*AND_AGAIN, "-DNO_TOKEN_FENCE"],
    ],
    ids=" ".join,
)
def test_control_moving_items_needs_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert is_wrong(ITEMS, tmp_path, *options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(STEADY, id="two indexers"),
        pytest.param(["-DINDEXERS=1", "-DEVENTS=3"], id="one indexer, three events"),
        pytest.param(AWAY, id="targets that are away"),
        pytest.param([], id="taken back", marks=large),
        pytest.param([*AWAY, "-DEVENTS=3"], id="away, three events", marks=large),
    ],
)
def test_index_rows_that_move_have_every_event(tmp_path: Path, options: list[str]) -> None:
    assert errors_of(INDEXES, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DNO_EPOCH"],
        ["-DNO_LOG"],
        ["-DNO_CLOSE"],
        [*STEADY, "-DNO_TARGET"],
        ["-DPARTLY"],
        ["-DNO_EQUAL"],
        [*STEADY, "-DONLY_RAISE"],
        ["-DLOWER"],
        [*STEADY, "-DNO_LOCK"],
        ["-DREACHED"],
        [*AWAY, "-DNO_TELL"],
        [*AWAY, "-DNO_RESUME"],
    ],
    ids=" ".join,
)
def test_control_moving_index_rows_needs_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert is_wrong(INDEXES, tmp_path, *options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="forgotten on the target"),
        pytest.param(FORGOTTEN, id="forgotten on the source"),
        pytest.param(["-DRAISES=3"], id="on both", marks=large),
    ],
)
def test_a_request_whose_deciding_shard_changes_happens_once(
    tmp_path: Path, options: list[str]
) -> None:
    assert errors_of(TOKENS, tmp_path, *options) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["-DNOT_COPIED"],
        ["-DNOT_LOGGED"],
        ["-DOWN"],
        ["-DNEWER"],
        [*FORGOTTEN, "-DANY"],
        ["-DEARLY"],
        ["-DREACHED"],
    ],
    ids=" ".join,
)
def test_control_moving_tokens_needs_each_mechanism(tmp_path: Path, options: list[str]) -> None:
    assert is_wrong(TOKENS, tmp_path, *options)
