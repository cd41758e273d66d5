"""What a client does with transactions, on the common table, on accounts and on lists."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tests.faults.access import Answer, Failure
from tests.faults.history import Key, Operation
from tests.faults.model import TABLE
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS, LISTS, Part, requests_of

MIX = {
    "transact": 8, "transact_get": 5, "move": 6, "sum": 6, "note": 2,
    "append_all": 9, "get_all": 7, "append": 3, "get_one": 3,
}  # fmt: skip
"""How often each kind of step is drawn, beside those of `workload`."""
ATTEMPTS = 4
"""Of a transaction whose outcome is not known."""
ACTIVE = 8
"""Lists that are appended to at a time."""
HOT_LISTS = 3
WINDOW = 6.0
"""Seconds after which one list is left alone, and a new one begins."""
MOST_AGAIN = 6
"""Transactions of each table that a client's successor sends again."""
_PAUSE = 0.5
_SENT_AGAIN = 0.06
_MISUSED = 0.03
_WITH_OP = frozenset({"put", "update_add", "update_set", "append"})
"""Kinds whose request has their `op` in it."""


class Access(Protocol):
    """A way to the cluster. Every method may raise anything."""

    def get(self, key: Key, table: str) -> Answer:
        """Read consistently."""

    def update(self, table: str, part: Part) -> Answer:
        """Update one item, in no transaction."""

    def transact(self, table: str, parts: Sequence[Part], token: str) -> Answer:
        """Write several items, all or none."""

    def transact_get(self, table: str, keys: Sequence[Key]) -> Answer:
        """Read several items as of one moment."""


class Do(Protocol):
    """Carries out an operation, and writes down what became of it; None: it was not begun."""

    def __call__(
        self,
        kind: str,
        key: Key,
        argument: dict[str, Any],
        call: Callable[[Any], Answer],
        table: str,
    ) -> Answer | Failure | None:
        """Do it."""


@dataclass
class Known:
    """The last acknowledged write of an item, as one process knows it.

    Attributes:
        version: 0: it is not known.
        token: of its receipt.
        items: as it left the item, and as it found it, where known.
    """

    op: str
    version: int
    token: str
    items: list[dict[str, Any]]


Some = TypeVar("Some")


class Transactor:
    """One thread's transactions.

    Args:
        new_op: gives a value that no other write has.
        draw_key: gives a key of the common table.
        draw_values: gives what the indexes of the common table are about.
        known: of the common table, shared by the process's threads.
        once: send nothing again.
    """

    def __init__(
        self,
        do: Do,
        choice: random.Random,
        new_op: Callable[[], str],
        draw_key: Callable[[], Key],
        draw_values: Callable[[], dict[str, Any]],
        known: MutableMapping[Key, Known],
        once: bool = False,
    ) -> None:
        self._once = once
        self._do = do
        self._choice = choice
        self._new_op = new_op
        self._draw_key = draw_key
        self._draw_values = draw_values
        self._known = known
        self._balances: dict[Key, int] = {}

    def step(self, kind: str) -> None:
        """One step of `MIX`."""
        match kind:
            case "transact":
                self._transact_common()
            case "transact_get":
                self._read(TABLE, self._some({self._draw_key() for _ in range(6)}))
            case "move":
                self._move()
            case "sum":
                self._sum()
            case "note":
                self._update(ACCOUNTS, self._choice.choice(ACCOUNT_KEYS), "note")
            case "append_all":
                self._append_all()
            case "get_all":
                self._read(LISTS, self._lists())
            case "append":
                self._update(LISTS, self._lists()[0], "append")
            case "get_one":
                key = self._lists()[0]
                self._do("get", key, {}, lambda access: access.get(key, LISTS), LISTS)

    def send_again(self, operations: Sequence[Operation]) -> None:
        """Send again what a client that is no more has begun, and was told nothing of."""
        for table in (TABLE, ACCOUNTS, LISTS):
            unknown = [r for r in requests_of(operations, table) if r.outcome == "unknown"]
            for request in unknown[-MOST_AGAIN:]:
                self._write(table, request.parts, request.name, len(request.attempts) + 1)

    def _write(
        self, table: str, parts: Sequence[Part], name: str = "", attempt: int = 1
    ) -> Answer | None:
        """Try until it is known what became of the transaction, but not for ever."""
        unsettled = attempt > 1
        name = name or self._new_op()
        for number in range(attempt, attempt + ATTEMPTS):
            answer = self._attempt("transact_write", table, parts, name, number)
            if isinstance(answer, Answer):
                self._use_again(table, parts, name, number)
                return answer
            if answer is not None:
                unsettled = unsettled or answer.outcome == "unknown"
                if answer.outcome == "crash" or answer.result.get("reason") == "cancelled":
                    return None
            if self._once or not unsettled:
                return None
            time.sleep(self._choice.random() * _PAUSE)
        return None

    def _use_again(self, table: str, parts: Sequence[Part], name: str, number: int) -> None:
        """Now and then, send what has happened again, or something else with its token."""
        if self._once:
            return
        if self._choice.random() < _SENT_AGAIN:
            self._attempt("transact_write", table, parts, name, number + 1)
        if self._choice.random() < _MISUSED and parts[0]["kind"] in _WITH_OP:
            other = [{**parts[0], "op": self._new_op()}, *parts[1:]]
            self._attempt("transact_other", table, other, name, 1)

    def _attempt(
        self, kind: str, table: str, parts: Sequence[Part], name: str, number: int
    ) -> Answer | Failure | None:
        argument = {"transaction": name, "attempt": number, "parts": list(parts)}
        key = parts[0]["h"], parts[0]["n"]
        return self._do(
            kind, key, argument, lambda access: access.transact(table, parts, name), table
        )

    def _read(self, table: str, keys: Sequence[Key]) -> list[dict[str, Any] | None] | None:
        answer = self._do(
            "transact_get", keys[0], {"keys": list(keys)},
            lambda access: access.transact_get(table, keys), table,
        )  # fmt: skip
        return answer.result["items"] if isinstance(answer, Answer) else None

    def _update(self, table: str, key: Key, kind: str) -> None:
        part = {"kind": kind, "h": key[0], "n": key[1], "op": self._new_op()}
        self._do(kind, key, {"op": part["op"]}, lambda access: access.update(table, part), table)

    def _some(self, keys: Iterable[Some]) -> list[Some]:
        """2 to 6 of them, in any order."""
        drawn = sorted(keys)  # type: ignore[type-var]
        self._choice.shuffle(drawn)
        return drawn[: self._choice.randint(2, 6)]

    def _transact_common(self) -> None:
        keys = self._some({self._draw_key() for _ in range(8)})
        conditional = self._choice.randrange(2 * len(keys))  # at most one
        parts = [self._common_part(key, at == conditional) for at, key in enumerate(keys)]
        answer = self._write(TABLE, parts)
        if answer is None or not answer.token:
            return
        for part in parts:
            if part["kind"] in ("put", "update_set"):
                known = Known(part["op"], 0, answer.token, [dict(part)])
                self._known[part["h"], part["n"]] = known

    def _common_part(self, key: Key, conditional: bool) -> dict[str, Any]:
        part: dict[str, Any] = {"h": key[0], "n": key[1], "op": self._new_op()}
        known = self._known.get(key)
        if conditional and known is not None:
            return {**part, "op": None, "kind": "check_op", "expected": known.op}
        if conditional:
            return {**part, "op": None, "kind": "check_absent"}
        kind = self._choice.choice(("put", "put", "put", "update_add", "update_set", "delete"))
        part["kind"] = kind
        if kind == "put":
            part["counter"] = self._choice.choice((0, 0, 100))
        if kind == "update_add":
            part["add"] = self._choice.randint(1, 9)
        if kind in ("put", "update_set"):
            part |= self._draw_values()
        return part

    def _sum(self) -> None:
        items = self._read(ACCOUNTS, ACCOUNT_KEYS)
        if items is not None:
            balances = [0 if item is None else item["balance"] for item in items]
            self._balances = dict(zip(ACCOUNT_KEYS, balances, strict=True))

    def _move(self) -> None:
        """Move money from one account to others; some are closed with all that they have."""
        source, *others = self._some(ACCOUNT_KEYS)
        balance = self._balances.get(source, 0)
        if balance and self._choice.random() < 0.3:
            taken: dict[str, Any] = {"kind": "close", "balance": balance}
        else:
            balance = self._choice.randint(len(others), 30)
            taken = {"kind": "move", "amount": -balance}
        parts = [{**taken, "h": source[0], "n": source[1]}]
        for left, key in zip(range(len(others), 0, -1), others, strict=True):
            amount = balance if left == 1 else self._choice.randint(0, balance)
            balance -= amount
            parts.append({"kind": "move", "amount": amount, "h": key[0], "n": key[1]})
        self._choice.shuffle(parts)  # the first one's shard decides
        self._write(ACCOUNTS, parts)

    def _lists(self) -> list[Key]:
        """2 to 6 lists that are in use now, hot ones among them; they are used by all processes."""
        first = int(time.monotonic() / WINDOW)
        hot = self._choice.sample(range(HOT_LISTS), self._choice.randint(1, 2))
        drawn = {*hot, *(self._choice.randrange(ACTIVE) for _ in range(4))}
        while len(drawn) < 2:
            drawn.add(self._choice.randrange(ACTIVE))
        return [(f"list-{first + number}", 0) for number in self._some(drawn)]

    def _append_all(self) -> None:
        """Append to lists, some of them if they are as they were a moment ago."""
        keys = self._lists()
        op = self._new_op()
        found: list[dict[str, Any] | None] | None = None
        if self._choice.random() < 0.6:
            found = self._read(LISTS, keys)
        parts = []
        for at, key in enumerate(keys):
            part: dict[str, Any] = {"kind": "append", "h": key[0], "n": key[1], "op": op}
            if found is not None and self._choice.random() < 0.7:
                values = (found[at] or {}).get("values", ())
                part["last"] = values[-1] if values else None
                if at and self._choice.random() < 0.5:
                    part["kind"] = "see"
            parts.append(part)
        self._choice.shuffle(parts)
        self._write(LISTS, parts, op)
