"""Cycles in a graph of dependencies, and the anomalies that they are (see `lists`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from tests.faults.history import Key

Edge = tuple[str, int, Key | None]
"""Its kind, where it leads, and the list that it is about."""
Graph = Mapping[int, Sequence[Edge]]
"""By node: its edges."""
Cycle = list[tuple[int, str, Key | None]]
"""Each step: the node that it leaves, and its edge's kind and list."""

MOST_STEPS = 3_000_000
"""Edges that are looked at for the shortest cycle of a kind."""
_ANOMALIES = {
    "G0, dirty write": ("ww", {"ww"}),
    "G1c, circular information flow": ("wr", {"ww", "wr"}),
    "G-single, lost update or fractured read": ("rw", {"ww", "wr"}),
    "G2, write skew": ("rw", {"ww", "wr", "rw"}),
}
"""The kind of edge that makes it, and those that the rest of the cycle may have."""


def anomaly(graph: Graph) -> tuple[str, Cycle] | None:
    """The strongest anomaly that there is, with a short cycle; None: there is no cycle."""
    if not _core(graph):
        return None
    for realtime in (set[str](), {"rt"}):
        for name, (kind, kinds) in _ANOMALIES.items():
            cycle = _shortest(graph, kind, kinds | realtime)
            if cycle:
                return name.replace(",", "-realtime,") if realtime else name, cycle
    return "a cycle that was not found in time", []


def _core(graph: Graph) -> Graph:
    """Without what nothing leads to, and what leads nowhere: no cycle goes there."""
    forward = {n: [to for _, to, _ in edges] for n, edges in graph.items()}
    back: dict[int, list[int]] = defaultdict(list)
    for n, targets in forward.items():
        for to in targets:
            back[to].append(n)
    left = forward.keys() | back.keys()
    for out, into in ((forward, back), (back, forward)):
        counts = {n: len([m for m in into.get(n, ()) if m in left]) for n in left}
        waiting = [n for n, count in counts.items() if not count]
        while waiting:
            left.discard(n := waiting.pop())
            for to in out.get(n, ()):
                if to in left:
                    counts[to] -= 1
                    if not counts[to]:
                        waiting.append(to)
    return {n: [edge for edge in graph[n] if edge[1] in left] for n in left}


def _shortest(graph: Graph, kind: str, kinds: Collection[str]) -> Cycle:
    """The shortest cycle with an edge of this kind, and then of those kinds, as far as it is found
    in a bounded time."""
    wanted = {kind, *kinds}
    core = _core({n: [e for e in edges if e[0] in wanted] for n, edges in graph.items()})
    best: Cycle = []
    left = MOST_STEPS
    for source, edges in core.items():
        for to, key in [(to, key) for one, to, key in edges if one == kind]:
            back, steps = _path(core, to, source, kinds, len(best) - 1 if best else left)
            left -= steps
            if back:
                best = [(source, kind, key), *back]
            if left < 0:
                return best
    return best


def _path(
    graph: Graph, source: int, goal: int, kinds: Collection[str], most: int
) -> tuple[Cycle, int]:
    """The shortest way of fewer than so many steps, each as the node that it leaves, and its edge;
    and how many edges were looked at."""
    came: dict[int, tuple[int, str, Key | None]] = {}
    ends, looked = [source], 0
    for _ in range(most - 1):
        following = []
        for node in ends:
            for kind, to, key in graph.get(node, ()):
                looked += 1
                if kind not in kinds or to in came or to == source:
                    continue
                came[to] = (node, kind, key)
                following.append(to)
        if goal in came:
            steps: Cycle = []
            while goal != source:
                steps.insert(0, came[goal])
                goal = came[goal][0]
            return steps, looked
        if not following:
            break
        ends = following
    return [], looked
