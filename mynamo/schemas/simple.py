"""The short definitions that the simple interface takes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from mynamo.errors import InvalidSchema
from mynamo.schemas.table import GlobalIndexSchema, Key, Keys, LocalIndexSchema, TableSchema, parse


class _Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str


class SimpleTable(_Definition):
    """`{"table": "orders", "hash_key": "id", "sort_key": "day:N", "columns": ["name"]}`.

    Attributes:
        hash_key, sort_key: strings, unless written "name:N" or "name:B".
        columns: further attributes, for people: an item may have any.
    """

    hash_key: Key
    sort_key: Key | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def schema_of(cls, definition: Any) -> TableSchema:
        """The table's full definition.

        Raises:
            InvalidSchema: the short one is not valid.
        """
        short = parse(cls, definition)
        return TableSchema.parse(
            {"name": short.table, "hash_key": short.hash_key, "sort_key": short.sort_key}
        )


class SimpleIndex(_Definition):
    """`{"table": "orders", "index_column": "price:N", "index_name": "by_price"}`.

    Attributes:
        index_column: a string, unless written "name:N" or "name:B". A GSI may have a list of
            up to four.
        index_name: by default the columns with "_lsi" or "_gsi" behind them.
    """

    index_column: Keys
    index_name: str | None = None

    @classmethod
    def local_of(cls, definition: Any) -> tuple[str, LocalIndexSchema]:
        """The table's name, and an LSI whose sort key is the column.

        Raises:
            InvalidSchema: the short definition is not valid.
        """
        short = parse(cls, definition)
        if len(short.index_column) != 1:
            raise InvalidSchema("index_column: a local index has one column")
        (column,) = short.index_column
        return short.table, parse(
            LocalIndexSchema, {"name": short._name("lsi"), "sort_key": column}
        )

    @classmethod
    def global_of(cls, definition: Any) -> tuple[str, GlobalIndexSchema]:
        """The table's name, and a GSI whose hash key is the column, or all of them.

        Raises:
            InvalidSchema: the short definition is not valid.
        """
        short = parse(cls, definition)
        return short.table, parse(
            GlobalIndexSchema, {"name": short._name("gsi"), "hash_key": short.index_column}
        )

    def _name(self, kind: str) -> str:
        return self.index_name or "_".join([*(key.name for key in self.index_column), kind])
