"""What came of a run, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OUTCOMES = ("ok", "refused", "unknown", "crash")
SHOWN = 40


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        operations: by kind and outcome.
        faults: injected, by kind.
        checks: made, by kind.
        violations: of what mynamo promises.
        moves: of slots, by what became of them.
        measured: what clients of the other shards got while one was away.
        notes: what went otherwise than the harness meant.
        folder: of histories and logs.
    """

    operations: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    folder: Path | None = None

    def text(self) -> str:
        """All of it, in lines."""
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        yield from self._operations()
        yield from _counted("faults injected", self.faults)
        yield from _counted("checks made", self.checks)
        yield from _counted("moves of slots", self.moves)
        if self.measured:
            yield "measured:"
            yield from (f"  {line}" for line in self.measured)
        if self.notes:
            yield "notes:"
            for note, count in Counter(self.notes).items():
                yield f"  {note}" + (f" ({count} times)" if count > 1 else "")
        yield f"violations found: {len(self.violations):,}"
        yield from (f"  {violation}" for violation in self.violations[:SHOWN])
        if len(self.violations) > SHOWN:
            yield "  ..."
        if self.violations:
            yield f"histories and logs: {self.folder}"

    def _operations(self) -> Iterator[str]:
        kinds = sorted({kind for kind, _ in self.operations})
        columns = [o for o in OUTCOMES if any((kind, o) in self.operations for kind in kinds)]
        yield f"operations: {self.operations.total():,}"
        yield f"  {'':32} " + " ".join(f"{name:>9}" for name in columns)
        for kind in kinds:
            counts = (self.operations[kind, name] for name in columns)
            yield f"  {kind:32} " + " ".join(f"{count:>9,}" for count in counts)


def _counted(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    yield f"{title}: {sum(counts.values()):,}"
    for name, count in sorted(counts.items()):
        yield f"  {name:32} {count:>9,}"
