"""Step 4 of one entry that is too large for one packet: several, in the same local transaction.

A server takes one packet of a bounded size, but 100 deletions may find 40 MB of items. They must
not be divided, so the packets are. The outbox rows must have consecutive ids, from one statement:
they are inserted empty, and filled afterwards. Nobody sees them before the commit, which is in the
last packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.parts import parts_of
from mynamo.schemas.items import dump_item
from mynamo.writer.transaction.evaluation import Plan, Row
from mynamo.writer.transaction.request_tokens import insert_tokens
from mynamo.writer.transaction.statements import (
    changed_by_table,
    final_rows,
    insert_outbox,
    new_rows,
)


def run_in_packets(
    session: Session,
    rows: Sequence[Row],
    plan: Plan,
    write_id: bytes,
    generation: int,
    besides: Sequence[Statement],
    log: Sequence[Statement],
    most: int,
) -> int:
    """Run what `statements_of` makes, and commit.

    Args:
        rows: those of one table side by side.
        besides, log: see `statements_of`.
        most: bytes of values in one packet, unless one row alone has more.

    Returns:
        The id of the first outbox row.

    Raises:
        See `Session.run`. Nothing was written unless the connection was lost.
    """
    parts = list(parts_of(rows, _size_of_item, most))
    new = [each for part in parts for each in new_rows(changed_by_table(part))]
    run_bounded(session, new, most)
    empty = [replace(event, payload=b"") for event in plan.events]
    first_id = session.run(insert_outbox(empty, write_id))[0].insert_id
    statements: list[Statement] = [
        ("UPDATE mynamo_outbox FORCE INDEX (PRIMARY) SET payload = %s WHERE id = %s",
         (event.payload, first_id + number))
        for number, event in enumerate(plan.events)
    ]  # fmt: skip
    for part in parts:
        statements += final_rows(changed_by_table(part))
    statements += besides
    if plan.tokens:
        statements.append(insert_tokens(plan.tokens, generation))
    statements += log
    run_bounded(session, [*statements, ("COMMIT", ())], most)
    return first_id


def _size_of_item(row: Row) -> int:
    return len(dump_item(row.now.item)) if row.now.item is not None else 0


def _size_of_values(statement: Statement) -> int:
    return sum(len(value) for value in statement[1] if isinstance(value, bytes))


def run_bounded(session: Session, statements: Sequence[Statement], most: int) -> None:
    """Run statements in packets of a bounded size; if they fit, in one.

    Args:
        most: bytes of values in one packet, unless one statement alone has more.
    """
    for packet in parts_of(statements, _size_of_values, most):
        session.run(*packet)
