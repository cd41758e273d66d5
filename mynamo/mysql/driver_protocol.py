"""What the pool needs of a MySQL driver. `mynamo.mysql.driver` has the only one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol


class StatementResult(Protocol):
    """What one statement gave.

    Attributes:
        rows: the rows it selected; None: it selects none.
        affected_rows: how many rows it selected or changed.
        insert_id: the first AUTO_INCREMENT value it assigned; None or 0: it assigned none.
        description: of the columns; each one's name is the first of its values.
    """

    rows: Any
    affected_rows: Any
    insert_id: Any
    description: Any


class Driver(Protocol):
    """One connection. Used by one caller at a time. Its errors are `failures.DRIVER_ERRORS`."""

    def bind(self, sql: str, values: Sequence[Any]) -> str:
        """Put values in the places of a statement's %s; without values it stays as it is."""

    def ask(self, sql: str, count: int) -> Iterator[StatementResult]:
        """Send so many statements, and give what each of them gave as it comes."""

    def ping(self, reconnect: Literal[False]) -> None:
        """Ask the server for an answer; a connection that is lost stays so."""

    def end_at(self, ends_at: float | None) -> None:
        """When to wait for no answer any longer (monotonic); None: `read_timeout` alone counts."""

    def answers_within(self, seconds: float) -> None:
        """How long an answer may take from now on; until then, as long as `connect` was told."""

    def on_silence(self, look: Callable[[], None]) -> None:
        """What whoever waits for an answer calls each second; what it raises ends the wait."""

    def close(self) -> None:
        """Close the connection."""
