"""The write command: a write that waits in Kafka until a writer applies it."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mynamo.errors import InvalidRequest
from mynamo.schemas.validation import load

FORMAT = 1
"""Raised whenever older writers could misread the commands. A command of a later format has its
number as `format`; one of the first has none, as writers of that time know no such field."""


class Condition(BaseModel):
    """What must hold for a write to happen.

    Attributes:
        exists: True: the item must exist; False: it must not.
        version: the item must exist in exactly this version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exists: bool | None = None
    version: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Condition:
        if self.exists is False and self.version is not None:
            raise ValueError("an item that must not exist has no version")
        return self


MUST_EXIST = Condition(exists=True)
MUST_NOT_EXIST = Condition(exists=False)


def version_is(version: int) -> Condition:
    """The condition that the item still has the version of an earlier receipt.

    Raises:
        InvalidRequest: it is not a version that a receipt can have.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidRequest(f"a version is a whole number from 1 on, not {version!r}")
    return Condition(version=version)


class WriteCommand(BaseModel):
    """One queued write.

    Attributes:
        command_id: it is applied once, however often it arrives.
        table: the table's name.
        operation: PUT (with `item`), DELETE (with `key`) or UPDATE (with `key`, and either
            `set` and `remove` or `update_expression`).
        item: the whole new item, DynamoDB JSON.
        key: the key of the item, DynamoDB JSON.
        set: attributes and their new values, DynamoDB JSON.
        remove: names of attributes to remove.
        condition: what must hold when it is applied.
        update_expression: the change, as DynamoDB words it.
        condition_expression: in place of `condition`, as DynamoDB words it.
        expression_names: what the `#placeholders` of the expressions stand for.
        expression_values: what their `:placeholders` stand for, DynamoDB JSON.
        submitted_at: when it was published, Unix microseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: uuid.UUID = Field(default_factory=uuid.uuid4)
    table: str
    operation: Literal["PUT", "DELETE", "UPDATE"]
    item: dict[str, dict[str, Any]] | None = None
    key: dict[str, dict[str, Any]] | None = None
    set: dict[str, dict[str, Any]] = {}
    remove: tuple[str, ...] = ()
    condition: Condition = Condition()
    update_expression: str | None = None
    condition_expression: str | None = None
    expression_names: dict[str, str] = {}
    expression_values: dict[str, dict[str, Any]] = {}
    submitted_at: int = Field(default_factory=lambda: time.time_ns() // 1000)

    @model_validator(mode="after")
    def _has_its_parts(self) -> WriteCommand:
        if (self.item is not None) != (self.operation == "PUT"):
            raise ValueError("`item` belongs to PUT, and PUT needs it")
        if (self.key is not None) != (self.operation != "PUT"):
            raise ValueError("`key` belongs to DELETE and UPDATE, and they need it")
        if (self.set or self.remove) and self.operation != "UPDATE":
            raise ValueError("`set` and `remove` belong to UPDATE")
        if self.update_expression is not None:
            if self.operation != "UPDATE":
                raise ValueError("`update_expression` belongs to UPDATE")
            if self.set or self.remove:
                raise ValueError("`update_expression` stands in place of `set` and `remove`")
        if self.condition_expression is not None and self.condition != Condition():
            raise ValueError("`condition_expression` stands in place of `condition`")
        return self

    def dump(self) -> bytes:
        """The message for the topic. Without expressions it is what it was before there were
        any, so that workers of that time can read it."""
        unused = {name for name in _EXPRESSION_FIELDS if not getattr(self, name)}
        return self.model_dump_json(exclude=unused).encode()


_EXPRESSION_FIELDS = (
    "update_expression", "condition_expression", "expression_names", "expression_values",
)  # fmt: skip


def load_command(message: bytes) -> WriteCommand:
    """Read a command from its message.

    Raises:
        CorruptData: it is not one.
        NewerFormat: it is of a later format.
    """
    return load(WriteCommand, message, "a write command", newest=FORMAT)
