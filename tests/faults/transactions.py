"""Transactions in recorded histories, and what must hold of them.

| operation | what it is |
| --- | --- |
| transact_write | an attempt of a transaction; its argument has the transaction's name, which is its token, and its parts |
| transact_other | another request with the same token, and the same items |
| transact_get | reads items of one table as of one moment |

A transaction whose outcome is not known is sent again with its token, by its client or by the
client's successor. Its attempts are one `Request`. Parts of the common table are operations of
`model`, and besides

| kind | demands of the item |
| --- | --- |
| check_absent | that there is none |
| check_op | that it has the `op` that it names |

The accounts' sum never changes (`move`, `close`), and lists only grow (`append`; `see` demands
the value that a list ends with). One item of either has a plain write too: `note`, `append`.
"""  # noqa: E501

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.faults import lists
from tests.faults.history import Key, Operation, Outcome
from tests.faults.model import NEVER, TABLE, WRITES

ACCOUNTS = "accounts"
LISTS = "lists"
ACCOUNT_KEYS: tuple[Key, ...] = tuple((f"account-{n}", 0) for n in range(10))
OPENING = 100
"""Each account's balance in the beginning."""
SCHEMAS = tuple({"name": name, "hash_key": "h", "sort_key": "n:N"} for name in (ACCOUNTS, LISTS))

Part = Mapping[str, Any]
"""One write of a transaction: `kind`, `h`, `n`, and what the kind needs."""


def key_of(part: Part) -> Key:
    """The key of a part's item."""
    return part["h"], part["n"]


@dataclass(frozen=True)
class Request:
    """A transaction, with all attempts.

    Attributes:
        end: of the first attempt that was answered with success; None: none was.
        outcome: ok if one attempt was, refused if all were.
    """

    name: str
    table: str
    parts: Sequence[Part]
    start: int
    end: int | None
    outcome: Outcome
    attempts: Sequence[Operation]

    @classmethod
    def of(cls, name: str, attempts: Sequence[Operation]) -> Request:
        """From attempts in the order in which they began."""
        ends = [o.end for o in attempts if o.outcome == "ok" and o.end is not None]
        refused = all(o.outcome == "refused" for o in attempts)
        outcome: Outcome = "ok" if ends else "refused" if refused else "unknown"
        first = attempts[0]
        return cls(
            name, first.table, first.argument["parts"], first.start, min(ends, default=None),
            outcome, attempts,
        )  # fmt: skip

    def settled(self, versions: Mapping[str, int]) -> Request:
        """With the outcome that the change stream tells, if nobody was answered.

        Args:
            versions: by `op`, of every change that has one.
        """
        ops = self.lasting_ops()
        if self.outcome != "unknown" or not ops:
            return self
        return replace(self, outcome="ok" if any(op in versions for op in ops) else "refused")

    def lasting_ops(self) -> list[str]:
        """Of the parts that leave an item."""
        return [p["op"] for p in self.parts if p["kind"] in WRITES and p["kind"] != "delete"]

    def operations(self) -> list[Operation]:
        """Its parts as operations on single items, and the conditions that were seen to fail."""
        client = self.attempts[0].client
        found = [
            Operation(
                client, part["kind"], self.table, key_of(part), part, self.start, self.end,
                self.outcome, {} if self.outcome == "ok" else {"reason": NEVER},
            )
            for part in self.parts
        ]  # fmt: skip
        for attempt in self.attempts:
            for part, reason in zip(self.parts, _reasons(attempt), strict=False):
                if reason is not None and reason["reason"] == "condition":
                    found.append(
                        Operation(
                            attempt.client, part["kind"], self.table, key_of(part),
                            {**part, "op": None}, attempt.start, attempt.end, "refused", reason,
                        )
                    )  # fmt: skip
        return found


def _reasons(attempt: Operation) -> Sequence[Mapping[str, Any] | None]:
    if attempt.outcome != "refused":
        return ()
    reasons: Sequence[Mapping[str, Any] | None] = (attempt.result or {}).get("reasons", ())
    return reasons


def requests_of(operations: Iterable[Operation], table: str) -> list[Request]:
    """The transactions on a table."""
    attempts: dict[str, list[Operation]] = defaultdict(list)
    for o in operations:
        if o.kind == "transact_write" and o.table == table:
            attempts[o.argument["transaction"]].append(o)
    return [Request.of(name, each) for name, each in attempts.items()]


def single_reads(operations: Iterable[Operation], table: str) -> list[Operation]:
    """Reads of several items as of one moment, as one read for each item."""
    return [
        Operation(o.client, "get", table, tuple(key), None, o.start, o.end, "ok", {"item": item})
        for o in operations
        if o.kind == "transact_get" and o.table == table and o.outcome == "ok"
        for key, item in zip(o.argument["keys"], o.result["items"], strict=True)
    ]


def check_atomicity(
    requests: Sequence[Request], versions: Mapping[str, int]
) -> tuple[int, list[str]]:
    """Of each transaction all is there, or nothing, as the change stream tells.

    Args:
        versions: by `op`, of every change that has one.
    """
    found = []
    for request in requests:
        ops = request.lasting_ops()
        there = [op for op in ops if op in versions]
        wrong = there if request.outcome == "refused" else set(ops) - set(there)
        if wrong and (there or request.outcome == "ok"):
            found.append(
                f"{request.name} ({request.outcome}) wrote {ops}, of which {there or 'nothing'} "
                f"happened: {_attempts(request)}"
            )
    return len(requests), found


def check_tokens(
    requests: Sequence[Request], others: Sequence[Operation], versions: Mapping[str, int]
) -> tuple[int, list[str]]:
    """What is sent again happens once, with the same answer; its token does nothing else.

    Args:
        others: of kind `transact_other`.
        versions: by `op`, of every change that has one.
    """
    found = [f"{o.argument} has a used token, and was done" for o in others if o.outcome == "ok"]
    for request in requests:
        good = [o for o in request.attempts if o.outcome == "ok"]
        first = [o for o in good if not o.result["repeated"]]
        if len(first) > 1:
            found.append(f"{request.name} was done {len(first)} times: {_attempts(request)}")
        for o in request.attempts:
            if o.outcome != "refused":
                continue
            reason = o.result["reason"]
            after = request.end is not None and o.start > request.end
            if reason == "mismatch" or (reason == "cancelled" and after):
                found.append(f"{request.name} was refused its own token: {_attempts(request)}")
        found += [
            f"{request.name}: the receipt of {part['op']} has version {version}; it is "
            f"{versions[part['op']]}"
            for o in good
            for part, version in zip(request.parts, o.result["versions"], strict=False)
            if version and version < versions.get(part.get("op") or "", 0)
        ]
    return sum(len(r.attempts) for r in requests) + len(others), found


def _attempts(request: Request) -> str:
    return "; ".join(
        f"client {o.client} at {o.start / 1e6:.1f} ms: {o.outcome} {o.result}"
        for o in request.attempts
    )


def check_accounts(operations: Sequence[Operation]) -> tuple[int, list[str]]:
    """The sum of all accounts is the same whenever all are read as of one moment, and in the end.

    Args:
        operations: on the table of accounts, the last reads among them.
    """
    total = OPENING * len(ACCOUNT_KEYS)
    reads = [
        (f"client {o.client} from {o.start / 1e6:.1f} to {(o.end or 0) / 1e6:.1f} ms",
         dict(zip(map(tuple, o.argument["keys"]), o.result["items"], strict=True)))
        for o in operations
        if o.kind == "transact_get" and o.outcome == "ok"
    ]  # fmt: skip
    last = {o.key: o.result["item"] for o in operations if _is_final(o)}
    found = []
    for who, items in [*reads, ("the end", last)]:
        balances = {key: (items.get(key) or {}).get("balance", 0) for key in ACCOUNT_KEYS}
        if sum(balances.values()) != total or min(balances.values()) < 0:
            shown = ", ".join(f"{key[0]}: {balance}" for key, balance in balances.items())
            found.append(f"{who}: the sum is {sum(balances.values())}, not {total}: {shown}")
    return len(reads) + 1, found


def check_lists(operations: Sequence[Operation]) -> tuple[int, list[str]]:
    """See `lists`.

    Args:
        operations: on the table of lists, the last reads among them.
    """
    transactions = [_on_lists(request) for request in requests_of(operations, LISTS)]
    finals: dict[Key, Sequence[str]] = {}
    for number, o in enumerate(operations):
        if _is_final(o):
            finals[o.key] = _values(o.result["item"])
        elif o.kind in ("get", "transact_get") and o.outcome == "ok":
            transactions.append(_read(o, f"read {number} by {o.client}"))
        elif o.kind == "append":
            happened = {"ok": True, "refused": False}.get(o.outcome)
            transactions.append(
                lists.Transaction(o.argument["op"], o.start, o.end, happened, [o.key])
            )
    return lists.check(transactions, finals)


def _is_final(o: Operation) -> bool:
    return o.kind == "get" and o.outcome == "ok" and bool((o.argument or {}).get("final"))


def _values(item: Mapping[str, Any] | None) -> Sequence[str]:
    values: Sequence[str] = (item or {}).get("values", ())
    return values


def _read(o: Operation, name: str) -> lists.Transaction:
    alone = o.kind == "get"
    keys = [o.key] if alone else [tuple(key) for key in o.argument["keys"]]
    items = [o.result["item"]] if alone else o.result["items"]
    seen = {key: _values(item) for key, item in zip(keys, items, strict=True)}
    saw = {key: values[-1] if values else None for key, values in seen.items()}
    return lists.Transaction(name, o.start, o.end, saw=saw, lists=seen, alone=alone)


def _on_lists(request: Request) -> lists.Transaction:
    appends = [key_of(part) for part in request.parts if part["kind"] == "append"]
    saw = {key_of(part): part["last"] for part in request.parts if "last" in part}
    happened = {"ok": True, "refused": False}.get(request.outcome)
    return lists.Transaction(request.name, request.start, request.end, happened, appends, saw)


def of_common_table(operations: Iterable[Operation]) -> list[Operation]:
    """The operations on single items and queries of the common table; no transactions."""
    return [o for o in operations if o.table == TABLE and not o.kind.startswith("transact")]
