"""Why no order of an item's operations was found, for a person."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.faults.model import Item, Step

_SHOWN = 25


def tell(
    steps: Sequence[Step],
    failed_at: int,
    items: Collection[Item],
    needed: Collection[int],
    reason: str,
) -> str:
    """The operations around the first end that no order explains.

    Args:
        failed_at: position of the step that ends there.
        items: what the item may have been before.
        needed: positions of the steps that must find one of these items, and have not yet.
    """
    failed = steps[failed_at]
    operation = failed.operation
    end = failed.end if failed.end is not None else max(step.start for step in steps)
    around = [s for s in steps if s is not failed and s.start <= end and _end_of(s) >= failed.start]
    earlier = sorted((s for s in steps if _end_of(s) < failed.start), key=_end_of)[-5:]
    waiting = [steps[position] for position in sorted(set(needed) - {failed_at})[:3]]
    together = {id(s): s for s in (*earlier, *around[-_SHOWN:], *waiting, failed)}
    shown = sorted(together.values(), key=lambda s: s.start)
    possible = sorted(map(_short, items))
    zero = shown[0].start
    lines = [
        f"{operation.table} {operation.key}: {reason}",
        f"  no order has the end of {operation.kind} by client {operation.client} (marked >); the "
        f"item before it could be: {', '.join(possible[:8])}",
    ]
    if waiting:
        ops = ", ".join(sorted({str(step.needs) for step in waiting}))
        lines.append(f"  and what found {ops} must come before any other write")
    return "\n".join([*lines, *(_line(s, zero, ">" if s is failed else " ") for s in shown)])


def _end_of(step: Step) -> float:
    return float("inf") if step.end is None else step.end


def _line(step: Step, zero: int, mark: str) -> str:
    operation = step.operation
    end = "      ..." if step.end is None else f"{(step.end - zero) / 1e6:9.1f}"
    version = "" if step.version is None else f" v{step.version}"
    argument = {k: v for k, v in (operation.argument or {}).items() if v is not None}
    return (
        f"  {mark} {(step.start - zero) / 1e6:9.1f} to {end} ms  client "
        f"{operation.client}: {operation.kind} {argument} -> {operation.outcome}{version} "
        f"{operation.result if operation.result is not None else ''}"
    )


def _short(item: Item) -> str:
    if item is None:
        return "none"
    return f"{item.op} (counter {item.counter}, status {item.status}, grade {item.grade})"
