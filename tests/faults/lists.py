"""Do transactions on lists look as if they had happened one after another?

As Elle does (Kingsbury and Alvaro, 2020): every write appends a value of its own to a list, so a
list tells who wrote it in which order. From that follows a graph of who must come before whom:

| edge | from | to |
| --- | --- | --- |
| ww | who appended a value to a list | who appended the next one |
| wr | who appended a value | who saw the list end with it |
| rw | who saw the list end with a value | who appended the next one |
| rt | who was answered | who began after that |

A cycle is an anomaly, named by its edges: G0 (ww only), G1c (ww and wr), G-single (one rw: a lost
update or a fractured read), G2 (several: write skew). "-realtime" is added if it needs an rt edge.
Elle's G1b, a read of what its own transaction overwrites, cannot be: no request names an item
twice.

Reads of single lists are no part of the graph, since two of them may see half a transaction. They
must not be stale, nor go back, each list by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.cycles import Cycle, Edge, Graph, anomaly
from tests.faults.history import Key


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction on lists, or one read of a list.

    Attributes:
        name: the value that it appends, if it appends.
        start, end: of all its attempts, by `time.monotonic_ns`; `end` None: nobody was answered.
        happened: None: not known.
        appends: the lists that it appends its name to.
        saw: by list, the last value that it must have found; None: there was none.
        lists: by list, all that it found, where it found all.
        alone: it read one list, in no transaction.
    """

    name: str
    start: int
    end: int | None
    happened: bool | None = True
    appends: Sequence[Key] = ()
    saw: Mapping[Key, str | None] = field(default_factory=dict)
    lists: Mapping[Key, Sequence[str]] = field(default_factory=dict)
    alone: bool = False

    def __str__(self) -> str:
        end = "..." if self.end is None else f"{self.end / 1e6:.1f}"
        appends = f" appends to {_words(self.appends)}" if self.appends else ""
        saw = "".join(f", {_word(key)} ended with {last}" for key, last in self.saw.items())
        return f"{self.name} ({self.start / 1e6:.1f} to {end} ms){appends}{saw}"


def check(
    transactions: Sequence[Transaction], finals: Mapping[Key, Sequence[str]]
) -> tuple[int, list[str]]:
    """Look for what no order of the transactions explains.

    Args:
        finals: every list as it is in the end.

    Returns:
        How many edges the graph has, and what is wrong.
    """
    orders = _orders(transactions, finals)
    positions = {key: {name: n for n, name in enumerate(order)} for key, order in orders.items()}
    found = [*_incompatible(transactions, finals, orders), *_repeated(orders)]
    found += _aborted(transactions, orders)
    found += _halves(transactions, positions)
    found += _stale(transactions, positions)
    graph, count = _graph_of(transactions, orders, positions)
    cycle = anomaly(graph)
    return count, found + ([_told(transactions, *cycle)] if cycle else [])


def _orders(
    transactions: Sequence[Transaction], finals: Mapping[Key, Sequence[str]]
) -> dict[Key, Sequence[str]]:
    """Of each list the longest one that was seen."""
    orders = dict(finals)
    for each in transactions:
        for key, values in each.lists.items():
            if len(values) > len(orders.get(key, ())):
                orders[key] = values
    return orders


def _incompatible(
    transactions: Sequence[Transaction],
    finals: Mapping[Key, Sequence[str]],
    orders: Mapping[Key, Sequence[str]],
) -> Iterator[str]:
    """Lists that are not the beginning of the longest one: what was there is gone, or moved."""
    ends = Transaction("the end", 0, None, lists=finals)
    for each in (*transactions, ends):
        for key, values in each.lists.items():
            longest = orders[key]
            if list(values) != list(longest[: len(values)]):
                both = enumerate(zip(values, longest, strict=False))
                at = next(n for n, (one, other) in both if one != other)
                yield (
                    f"incompatible order: {each.name} saw {values[at]} at {at} of {_word(key)}, "
                    f"others {longest[at]}"
                )
            elif each is ends and len(values) < len(longest):
                yield f"incompatible order: {longest[len(values)]} is gone from {_word(key)}"


def _repeated(orders: Mapping[Key, Sequence[str]]) -> Iterator[str]:
    for key, order in orders.items():
        for name, count in Counter(order).items():
            if count > 1:
                yield f"happened {count} times: {name} is in {_word(key)} so often"


def _aborted(
    transactions: Sequence[Transaction], orders: Mapping[Key, Sequence[str]]
) -> Iterator[str]:
    writers = {each.name: each for each in transactions if each.appends}
    for key, order in orders.items():
        for name in order:
            writer = writers.get(name)
            if writer is None or key not in writer.appends:
                yield f"nobody appended {name} to {_word(key)}"
            elif writer.happened is False:
                yield f"G1a, aborted read: {name} was refused, and is in {_word(key)}"


def _halves(
    transactions: Sequence[Transaction], positions: Mapping[Key, Mapping[str, int]]
) -> Iterator[str]:
    """What was answered is there, and of the rest all or nothing."""
    for each in transactions:
        there = [key for key in each.appends if each.name in positions.get(key, ())]
        missing = [key for key in each.appends if key not in there]
        if missing and (each.happened or (there and each.happened is None)):
            answered = "was answered" if each.happened else f"is in {_words(there)}"
            yield f"lost: {each.name} {answered}, and is not in {_words(missing)}"


def _stale(
    transactions: Sequence[Transaction], positions: Mapping[Key, Mapping[str, int]]
) -> Iterator[str]:
    """Each list by itself: who begins later sees what was answered, or seen, before."""
    known: dict[Key, list[tuple[int, int, str]]] = defaultdict(list)  # end, least length, whose
    for each in transactions:
        if each.end is None or not each.happened:
            continue
        for key in each.appends:
            if each.name in positions.get(key, ()):
                known[key].append((each.end, positions[key][each.name] + 1, each.name))
        for key, values in each.lists.items():
            known[key].append((each.end, len(values), each.name))
    for key, ends in known.items():
        ends.sort()
        longest = [ends[0]]
        for end in ends[1:]:
            longest.append(end if end[1] > longest[-1][1] else longest[-1])
        times = [end for end, _, _ in ends]
        for each in transactions:
            at = bisect_left(times, each.start)
            if at and key in each.lists and len(each.lists[key]) < longest[at - 1][1]:
                _, least, whose = longest[at - 1]
                yield (
                    f"stale read: {each} saw {len(each.lists[key])} of {_word(key)}, and {whose} "
                    f"had ended with {least}"
                )


def _graph_of(
    transactions: Sequence[Transaction],
    orders: Mapping[Key, Sequence[str]],
    positions: Mapping[Key, Mapping[str, int]],
) -> tuple[Graph, int]:
    """The graph of those that happened, and how many edges it has.

    Nodes are numbers of transactions; those above them are moments: who ended by then comes before
    who began later.
    """
    nodes = [n for n, t in enumerate(transactions) if not t.alone and _is_there(t, positions)]
    owners = {transactions[n].name: n for n in nodes if transactions[n].appends}
    graph: dict[int, list[Edge]] = defaultdict(list)
    for key, order in orders.items():
        for before, after in pairwise(owners[name] for name in order if name in owners):
            if before != after:
                graph[before].append(("ww", after, key))
    for n in nodes:
        for key, last in transactions[n].saw.items():
            at = -1 if last is None else positions.get(key, {}).get(last)
            if at is None:
                continue
            order = orders.get(key, ())
            if last in owners and owners[last] != n:
                graph[owners[last]].append(("wr", n, key))
            following = order[at + 1] if at + 1 < len(order) else None
            if following in owners and owners[following] != n:
                graph[n].append(("rw", owners[following], key))
    count = sum(map(len, graph.values()))
    _add_moments(graph, transactions, nodes)
    return graph, count


def _is_there(each: Transaction, positions: Mapping[Key, Mapping[str, int]]) -> bool:
    if each.happened is not None or not each.appends:
        return bool(each.happened)
    return any(each.name in positions.get(key, ()) for key in each.appends)


def _add_moments(
    graph: dict[int, list[Edge]], transactions: Sequence[Transaction], nodes: Sequence[int]
) -> None:
    ends = sorted((end, n) for n in nodes if (end := transactions[n].end) is not None)
    first = len(transactions)
    for at, (_, n) in enumerate(ends):
        graph[n].append(("rt", first + at, None))
        if at + 1 < len(ends):
            graph[first + at].append(("rt", first + at + 1, None))
    times = [end for end, _ in ends]
    for n in nodes:
        at = bisect_left(times, transactions[n].start)
        if at:
            graph[first + at - 1].append(("rt", n, None))


def _told(transactions: Sequence[Transaction], name: str, cycle: Cycle) -> str:
    """A cycle for a person; moments are left out."""
    lines = [f"{name}: no order explains these, each of which must come before the next:"]
    shown = [step for step in cycle if step[0] < len(transactions)]
    for n, kind, key in [*shown, *shown[:1]]:
        about = f" on {_word(key)}" if key else ""
        lines.append(f"    {transactions[n]}  --{kind}{about}-->")
    if shown:
        lines[-1] = lines[-1].rpartition("  --")[0]
    return "\n".join(lines)


def _word(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _words(keys: Collection[Key]) -> str:
    return ", ".join(map(_word, keys))
