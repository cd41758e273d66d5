"""The checkers of transactions: what is right passes, what is wrong is found and named."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.faults import lists, transactions
from tests.faults.checking import Final, check_recorded
from tests.faults.history import Key, Operation
from tests.faults.lists import Transaction
from tests.faults.model import TABLE, State
from tests.faults.simulation import event_of
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS, LISTS, OPENING, Request

X, Y, Z = ("x", 0), ("y", 0), ("z", 0)
MS = 1_000_000


def write(
    name: str, start: int, end: int | None, *appends: Key, happened: bool | None = True, **saw: Any
) -> Transaction:
    """A transaction that appends, and saw lists (by the names of their keys) end so."""
    seen = {(key, 0): last for key, last in saw.items()}
    return Transaction(name, start * MS, end and end * MS, happened, appends, seen)


def read(start: int, end: int, alone: bool = False, **seen: str) -> Transaction:
    """A read of lists, by the names of their keys, whose values are single letters."""
    found = {(key, 0): list(values) for key, values in seen.items()}
    last = {key: values[-1] if values else None for key, values in found.items()}
    return Transaction(f"read at {start}", start * MS, end * MS, saw=last, lists=found, alone=alone)


Lists = tuple[Sequence[Transaction], Mapping[Key, str]]

RIGHT: dict[str, Lists] = {
    "nothing": ([], {}),
    "one after another": (
        [write("a", 0, 1, X, Y), read(2, 3, x="a", y="a"), write("b", 4, 5, X, Y)],
        {X: "ab", Y: "ab"},
    ),
    "at the same time": (
        [write("a", 0, 9, X, Y), write("b", 0, 9, X, Y), read(1, 8, x="b", y="b")],
        {X: "ba", Y: "ba"},
    ),
    "refused": ([write("a", 0, 1, X, happened=False), read(2, 3, x="")], {X: ""}),
    "unknown, and never": ([write("a", 0, None, X, Y, happened=None)], {X: "", Y: ""}),
    "unknown, and late": (
        [write("a", 0, None, X, Y, happened=None), read(5, 6, x="", y=""),
         read(8, 9, x="a", y="a")],
        {X: "a", Y: "a"},
    ),
    "guards that held": (
        [write("a", 0, 1, X), write("b", 2, 3, X, Y, x="a"), write("c", 4, 5, Y, x="b", y="b")],
        {X: "ab", Y: "bc"},
    ),
    "single reads may see half": (
        [write("a", 0, 20, X, Y), read(1, 2, alone=True, x="a"), read(3, 4, alone=True, y="")],
        {X: "a", Y: "a"},
    ),
}  # fmt: skip

WRONG: dict[str, tuple[str, Lists]] = {
    "dirty writes": ("G0,", ([write("a", 0, 9, X, Y), write("b", 0, 9, X, Y)],
                             {X: "ab", Y: "ba"})),
    "dirty writes against the clock": (
        "G0-realtime", ([write("a", 0, 1, X), write("b", 2, 3, X)], {X: "ba"})),
    "aborted read": (
        "G1a", ([write("a", 0, 9, X, happened=False), read(2, 3, x="a")], {X: ""})),
    "aborted, and there in the end": ("G1a", ([write("a", 0, 9, X, happened=False)], {X: "a"})),
    "circular information": (
        "G1c,", ([write("a", 0, 9, X, y="b"), write("b", 0, 9, Y, x="a")], {X: "a", Y: "b"})),
    "read of what comes later": (
        "G1c-realtime", ([read(0, 1, x="a"), write("a", 2, 3, X)], {X: "a"})),
    "lost update": (
        "G-single,",
        ([write("a", 0, 1, X), write("b", 2, 9, X, x="a"), write("c", 2, 9, X, x="a")],
         {X: "abc"})),
    "fractured read": (
        "G-single,", ([write("a", 0, 9, X, Y), read(1, 8, x="a", y="")], {X: "a", Y: "a"})),
    "fractured read after the other half": (
        "G-single,",
        ([write("a", 0, 9, X, Y), write("b", 0, 9, X, Y), read(1, 8, x="ab", y="a")],
         {X: "ab", Y: "ab"})),
    "write skew": (
        "G2,", ([write("a", 0, 9, X, y=None), write("b", 0, 9, Y, x=None)], {X: "a", Y: "b"})),
    "write skew of three": (
        "G2,",
        ([write("a", 0, 9, X, y=None), write("b", 0, 9, Y, z=None), write("c", 0, 9, Z, x=None)],
         {X: "a", Y: "b", Z: "c"})),
    "readers that do not agree": (
        "G2,",
        ([write("a", 0, 9, X), write("b", 0, 9, Y), read(1, 8, x="a", y=""),
          read(1, 8, x="", y="b")],
         {X: "a", Y: "b"})),
    "stale transaction": (
        "G-single-realtime", ([write("a", 0, 1, X), read(2, 3, x="")], {X: "a"})),
    "stale over two": (
        "G-single-realtime",
        ([write("a", 0, 1, X), write("b", 2, 3, Y), read(1, 9, x="", y="b")], {X: "a", Y: "b"})),
    "stale single read": (
        "stale read", ([write("a", 0, 1, X), read(2, 3, alone=True, x="")], {X: "a"})),
    "single reads go back": (
        "stale read",
        ([write("a", 0, 9, X), read(1, 2, alone=True, x="a"), read(3, 4, alone=True, x="")],
         {X: "a"})),
    "lost append": ("lost: a", ([write("a", 0, 1, X)], {X: ""})),
    "half": ("lost: a", ([write("a", 0, None, X, Y, happened=None)], {X: "a", Y: ""})),
    "half of what was answered": ("lost: a", ([write("a", 0, 1, X, Y)], {X: "a", Y: ""})),
    "twice": ("happened 2 times: a", ([write("a", 0, 1, X)], {X: "aa"})),
    "what nobody wrote": ("nobody appended", ([], {X: "a"})),
    "seen, and gone": (
        "incompatible order",
        ([write("a", 0, None, X, happened=None), read(2, 3, x="a")], {X: ""})),
    "turned round": (
        "incompatible order",
        ([write("a", 0, 9, X), write("b", 0, 9, X), read(1, 2, x="ab")], {X: "ba"})),
}  # fmt: skip


def found(history: Lists) -> list[str]:
    operations, finals = history
    return lists.check(operations, {key: list(values) for key, values in finals.items()})[1]


@pytest.mark.parametrize("name", RIGHT)
def test_lists_that_an_order_explains(name: str) -> None:
    assert found(RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_lists_that_no_order_explains(name: str) -> None:
    anomaly, history = WRONG[name]
    assert any(text.startswith(anomaly) for text in found(history)), found(history)


def test_a_cycle_is_told_with_what_each_has_seen_and_by_which_edges() -> None:
    others = [write(f"o{n}", 0, 9, (f"o{n}", 0)) for n in range(50)]
    history = [*others, write("a", 0, 9, X, y=None), write("b", 0, 9, Y, x=None)]
    finals = {X: ["a"], Y: ["b"], **{(f"o{n}", 0): [f"o{n}"] for n in range(50)}}
    (story,) = lists.check(history, finals)[1]
    lines = story.splitlines()
    assert lines[0].startswith("G2, write skew")
    assert lines[1] == "    a (0.0 to 9.0 ms) appends to x/0, y/0 ended with None  --rw on y/0-->"
    assert lines[2] == "    b (0.0 to 9.0 ms) appends to y/0, x/0 ended with None  --rw on x/0-->"
    assert len(lines) == 4


def made_at_random(seed: int, count: int, flaw: str = "") -> Lists:
    """Transactions that happen one after another, each within its time; one flaw now and then."""
    choice = random.Random(seed)
    keys = [(f"k{n}", 0) for n in range(6)]
    there: dict[Key, list[str]] = {key: [] for key in keys}
    before = {key: list(values) for key, values in there.items()}
    made: list[Transaction] = []
    for number in range(count):
        name, at = f"t{number}", 10 * number
        start, end = at - choice.randrange(60), at + choice.randrange(60)
        some = choice.sample(keys, choice.randint(2, 4))
        flawed = number > 20 and choice.random() < 0.1
        if choice.random() < 0.5:
            old = {key: list(there[key]) for key in some}
            if flawed and flaw == "fractured":
                old[some[0]] = list(before[some[0]])
            saw = {key: values[-1] if values else None for key, values in old.items()}
            made.append(Transaction(name, start * MS, end * MS, saw=saw, lists=old))
            continue
        before = {key: list(values) for key, values in there.items()}
        guards = {key: there[key][-1] if there[key] else None for key in some if number % 2}
        unknown, never = choice.random() < 0.1, choice.random() < 0.5
        if not (unknown and never):
            for key in some[:-1] if flawed and flaw == "half" else some:
                there[key].append(name)
        if flawed and flaw == "lost update" and len(there[some[0]]) > 1:
            there[some[0]][-2:] = reversed(there[some[0]][-2:])
        happened, ends = (None, None) if unknown else (True, end * MS)
        made.append(Transaction(name, start * MS, ends, happened, some, guards))
    return made, there  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(5))
def test_what_happens_one_after_another_passes(seed: int) -> None:
    history, finals = made_at_random(seed, 3_000)
    edges, problems = lists.check(history, finals)
    assert problems == []
    assert edges > 3_000


@pytest.mark.parametrize("flaw", ["fractured", "half", "lost update"])
@pytest.mark.parametrize("seed", range(3))
def test_flaws_among_thousands_are_found(seed: int, flaw: str) -> None:
    assert found(made_at_random(seed, 2_000, flaw))


def _is_explained(history: Sequence[Transaction], finals: Mapping[Key, Sequence[str]]) -> bool:
    """Whether one of all orders explains a history whose transactions have all happened."""
    return any(_fits(order, finals) for order in itertools.permutations(history))


def _fits(order: Sequence[Transaction], finals: Mapping[Key, Sequence[str]]) -> bool:
    there: dict[Key, list[str]] = {key: [] for key in finals}
    for at, each in enumerate(order):
        if any(later.end is not None and later.end < each.start for later in order[at + 1 :]):
            return False
        if any(there[key] != list(values) for key, values in each.lists.items()):
            return False
        if any(there[key][-1:] != ([last] if last else []) for key, last in each.saw.items()):
            return False
        for key in each.appends:
            there[key].append(each.name)
    return there == {key: list(values) for key, values in finals.items()}


def _any_history(choice: random.Random) -> tuple[list[Transaction], dict[Key, list[str]]]:
    """A few transactions at any times, that saw anything that was once there."""
    keys = [X, Y, Z]
    drawn = [(name, choice.sample(keys, choice.randint(1, 2))) for name in "abc"]
    finals = {key: [name for name, some in drawn if key in some] for key in keys}
    for values in finals.values():
        if choice.random() < 0.2:
            choice.shuffle(values)
    made = []
    for name, some in [*drawn, ("r", choice.sample(keys, 2)), ("s", choice.sample(keys, 2))]:
        start = choice.randrange(20)
        end = start + choice.randint(1, 15)
        if name in "rs":
            seen = {key: finals[key][: choice.randint(0, len(finals[key]))] for key in some}
            saw = {key: values[-1] if values else None for key, values in seen.items()}
            made.append(Transaction(name, start, end, saw=saw, lists=seen))
            continue
        guarded = choice.choice(keys)
        guards = {guarded: choice.choice([None, *finals[guarded]])} if choice.random() < 0.3 else {}
        if guards.get(guarded) == name:
            guards = {}
        made.append(Transaction(name, start, end, True, some, guards))
    return made, finals


def test_cycles_are_found_just_where_no_order_explains_a_history() -> None:
    choice = random.Random(3)
    counts = Counter[bool]()
    for _ in range(2_000):
        history, finals = _any_history(choice)
        problems = lists.check(history, finals)[1]
        assert _is_explained(history, finals) == (problems == []), (history, finals, problems)
        counts[problems == []] += 1
    assert min(counts.values()) > 100, counts


# -- recorded attempts ------------------------------------------------------------------


def attempt(
    name: str,
    start: int,
    end: int | None,
    outcome: Any = "ok",
    result: Mapping[str, Any] | None = None,
    table: str = TABLE,
    parts: Sequence[Mapping[str, Any]] = (),
    kind: str = "transact_write",
) -> Operation:
    """An attempt of a transaction of two puts, unless other parts are given."""
    parts = parts or [part(f"{name}.{n}", n) for n in range(2)]
    argument = {"transaction": name, "attempt": 1, "parts": parts}
    if result is None and outcome == "ok":
        result = {"repeated": False, "versions": []}
    return Operation(
        1, kind, table, ("h", 0), argument, start * MS, end and end * MS, outcome, result
    )


def part(op: str | None, n: int, kind: str = "put", **more: Any) -> dict[str, Any]:
    values = {"counter": 0, "status": "a", "grade": 1} if kind == "put" else {}
    return {"kind": kind, "h": "h", "n": n, "op": op, **values, **more}


AGAIN = {"repeated": True, "versions": []}
MISMATCH = {"reason": "mismatch"}
CANCELLED = {"reason": "cancelled", "reasons": [None, {"reason": "condition", "item": None}]}
AWAY = {"reason": "unavailable"}


def requests(*attempts: Operation) -> list[Request]:
    return transactions.requests_of(attempts, TABLE)


def test_attempts_of_one_token_are_one_request() -> None:
    known, refused, open_ = requests(
        attempt("a", 0, None, "unknown"), attempt("a", 5, 6, "refused", AWAY),
        attempt("a", 7, 8, "ok", AGAIN), attempt("b", 0, 1, "refused", CANCELLED),
        attempt("c", 0, None, "unknown"), attempt("c", 5, 6, "refused", CANCELLED),
    )  # fmt: skip
    assert (known.outcome, known.start, known.end) == ("ok", 0, 8 * MS)
    assert (refused.outcome, refused.end) == ("refused", None)
    assert (open_.outcome, open_.end) == ("unknown", None)
    assert [o.outcome for o in refused.operations()] == ["refused"] * 3
    look = refused.operations()[2]
    assert (look.op, look.key, look.end) == (None, ("h", 1), MS)


def test_what_was_not_answered_is_what_the_stream_tells() -> None:
    (open_,) = requests(attempt("a", 0, None, "unknown"))
    assert open_.settled({"a.0": 1, "a.1": 2}).outcome == "ok"
    assert open_.settled({}).outcome == "refused"
    deletions = [part("x", 0, "delete"), part(None, 1, "check_absent")]
    (gone,) = requests(attempt("b", 0, None, "unknown", parts=deletions))
    assert gone.settled({}).outcome == "unknown"  # it leaves nothing


WHOLE: list[tuple[Operation, dict[str, int]]] = [
    (attempt("a", 0, 1), {"a.0": 1, "a.1": 2}),
    (attempt("a", 0, None, "unknown"), {"a.0": 1, "a.1": 2}),
    (attempt("a", 0, None, "unknown"), {}),
    (attempt("a", 0, 1, "refused", CANCELLED), {}),
]
TORN: list[tuple[Operation, dict[str, int]]] = [
    (attempt("a", 0, 1), {"a.0": 1}),
    (attempt("a", 0, 1), {}),
    (attempt("a", 0, None, "unknown"), {"a.1": 1}),
    (attempt("a", 0, 1, "refused", CANCELLED), {"a.0": 1, "a.1": 2}),
    (attempt("a", 0, 1, "refused", CANCELLED), {"a.1": 2}),
]


@pytest.mark.parametrize(("history", "versions"), WHOLE)
def test_all_or_nothing_passes(history: Operation, versions: dict[str, int]) -> None:
    assert transactions.check_atomicity(requests(history), versions) == (1, [])


@pytest.mark.parametrize(("history", "versions"), TORN)
def test_half_a_transaction_is_found(history: Operation, versions: dict[str, int]) -> None:
    assert transactions.check_atomicity(requests(history), versions)[1]


RIGHT_TOKENS: list[Sequence[Operation]] = [
    [attempt("a", 0, 1), attempt("a", 2, 3, "ok", AGAIN)],
    [attempt("a", 0, None, "unknown"), attempt("a", 2, 3)],
    [attempt("a", 0, None, "unknown"), attempt("a", 2, 3, "refused", CANCELLED)],
    [attempt("a", 0, 1), attempt("a", 2, 3, "refused", AWAY)],
    [attempt("a", 0, 1, result={"repeated": False, "versions": [7, 0]})],
]
WRONG_TOKENS: list[Sequence[Operation]] = [
    [attempt("a", 0, 1), attempt("a", 2, 3)],
    [attempt("a", 0, 1), attempt("a", 2, 3, "refused", CANCELLED)],
    [attempt("a", 0, 1), attempt("a", 2, 3, "refused", MISMATCH)],
    [attempt("a", 0, 1, "refused", MISMATCH)],
    [attempt("a", 0, 1, result={"repeated": False, "versions": [6, 0]})],
]


@pytest.mark.parametrize("history", RIGHT_TOKENS)
def test_tokens_that_are_kept(history: Sequence[Operation]) -> None:
    assert transactions.check_tokens(requests(*history), [], {"a.0": 7})[1] == []


@pytest.mark.parametrize("history", WRONG_TOKENS)
def test_tokens_that_are_not_kept(history: Sequence[Operation]) -> None:
    assert transactions.check_tokens(requests(*history), [], {"a.0": 7})[1]


def test_another_request_with_a_used_token_is_refused() -> None:
    refused = attempt("a", 2, 3, "refused", MISMATCH, kind="transact_other")
    done = attempt("a", 2, 3, kind="transact_other")
    assert transactions.check_tokens([], [refused], {}) == (1, [])
    assert transactions.check_tokens([], [done], {})[1]


# -- accounts ---------------------------------------------------------------------------


def balances(**changed: int | None) -> list[dict[str, int] | None]:
    """Of all accounts; None: it is closed."""
    after = {key: OPENING for key, _ in ACCOUNT_KEYS} | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    return [None if value is None else {"balance": value} for value in after.values()]


def sums(*seen: Sequence[dict[str, int] | None]) -> list[str]:
    """What is said of reads of all accounts, of which the last one is the end."""
    keys = [list(key) for key in ACCOUNT_KEYS]
    history = [
        Operation(1, "transact_get", ACCOUNTS, ("account-0", 0), {"keys": keys}, 0, 1, "ok",
                  {"items": items})
        for items in seen[:-1]
    ]  # fmt: skip
    history += [
        Operation(0, "get", ACCOUNTS, key, {"final": True}, 5, 6, "ok", {"item": item})
        for key, item in zip(ACCOUNT_KEYS, seen[-1], strict=True)
    ]
    return transactions.check_accounts(history)[1]


def test_accounts_whose_sum_stays() -> None:
    moved = balances(account_0=OPENING - 30, account_7=OPENING + 30)
    closed = balances(account_0=None, account_7=2 * OPENING)
    assert sums(balances(), moved, closed, moved) == []


def test_accounts_whose_sum_changes() -> None:
    assert sums(balances(account_0=OPENING - 1), balances())
    assert sums(balances(), balances(account_0=None))
    assert sums(balances(), balances(account_0=-30, account_7=2 * OPENING + 30))


# -- the items of the common table, transactions included -------------------------------


def checked(history: Sequence[Operation], *events: tuple[int, int, str], **plain: Any) -> list[str]:
    """What is said of a run.

    Args:
        events: version, number of the item, and `op`; each item is written once.
    """
    states = {n: (version, State(op, 0, "a", 1)) for version, n, op in events}
    stream = [event_of(v, ("h", n), None, item) for n, (v, item) in states.items()]
    table = {("h", n): there for n, there in states.items()}
    report = check_recorded([], stream, Final(table), transacted=history, **plain)
    return [text for text in report.violations if "[accounts]" not in text]


def gets(start: int, end: int, *ops: str | None) -> Operation:
    items = [op and {"op": op, "counter": 0, "status": "a", "grade": 1} for op in ops]
    keys = [["h", n] for n in range(len(ops))]
    return Operation(
        2, "transact_get", TABLE, ("h", 0), {"keys": keys}, start * MS, end * MS, "ok",
        {"items": items},
    )  # fmt: skip


BOTH = [(1, 0, "a.0"), (2, 1, "a.1")]


def test_items_follow_one_order_transactions_included() -> None:
    assert (
        checked([gets(0, 1, None, None), attempt("a", 2, 5), gets(6, 7, "a.0", "a.1")], *BOTH) == []
    )
    assert checked([attempt("a", 2, None, "unknown"), gets(6, 7, "a.0", "a.1")], *BOTH) == []
    looking = [part("b", 2), part(None, 0, "check_op", expected="a.0")]
    history = [attempt("a", 0, 5), attempt("b", 3, 9, parts=looking)]
    assert checked(history, *BOTH, (3, 2, "b")) == []


def test_stale_reads_and_conditions_that_did_not_hold_are_found() -> None:
    assert checked([attempt("a", 0, 1), gets(2, 3, "a.0", None)], *BOTH)
    assert checked([attempt("a", 0, 1), gets(2, 3, None, "a.1")], *BOTH)
    looking = [part("b", 2), part(None, 0, "check_absent")]
    history = [attempt("a", 0, 1), attempt("b", 2, 3, parts=looking)]
    assert checked(history, *BOTH, (3, 2, "b"))
    cancelled = {"reason": "cancelled", "reasons": [None, {"reason": "condition", "item": None}]}
    history = [attempt("b", 2, 3, "refused", cancelled, parts=looking)]
    assert checked(history)  # it was absent


def test_what_was_refused_must_be_nowhere() -> None:
    assert checked([attempt("a", 0, 1, "refused", AWAY)], *BOTH)
    assert checked([attempt("a", 0, 1, "refused", AWAY)]) == []


def test_lists_in_a_history_are_checked() -> None:
    append = [{"kind": "append", "h": "x", "n": 0, "op": "a", "last": None}]
    append.append({"kind": "see", "h": "y", "n": 0, "op": "a", "last": None})
    done = attempt("a", 0, 1, table=LISTS, parts=append)
    end = Operation(0, "get", LISTS, X, {"final": True}, 5 * MS, 6 * MS, "ok", {"item": None})
    there = Operation(
        0, "get", LISTS, X, {"final": True}, 5 * MS, 6 * MS, "ok", {"item": {"values": ["a"]}}
    )
    plain = Operation(1, "append", LISTS, Y, {"op": "b"}, 0, MS, "ok", {})
    assert transactions.check_lists([done, there])[1] == []
    assert transactions.check_lists([done, end])[1] == ["lost: a was answered, and is not in x/0"]
    assert transactions.check_lists([done, there, plain])[1]
