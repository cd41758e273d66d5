"""Lines of logs: text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from mynamo.cli.log_lines import lines_of
from mynamo.schemas.config import LogConfig


def record(message: str = "it took %s", *values: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("mynamo.part", logging.WARNING, "", 0, message, values, None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    vars(made).update(more)
    return made


def test_json_is_one_object_in_a_line() -> None:
    lines = lines_of(LogConfig(format="json"))
    fields = {"table": 'or"ders', "seconds": 1.5, "shard": 3}
    line = lines.format(record("it took\n%s", "long", fields=fields))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "mynamo.part",
        "message": "it took\nlong",
        **fields,
    }


def test_an_exception_is_part_of_the_object() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info())
    told = json.loads(lines_of(LogConfig(format="json")).format(failed))
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: wrong")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3, "3"), ("orders", "orders"), ("two words", '"two words"'), ("", '""'), ("a\nb", '"a\\nb"')],
)
def test_text_has_the_fields_behind_the_message(value: object, shown: str) -> None:
    line = lines_of(LogConfig()).format(record("it took %s", "long", fields={"table": value}))
    assert line.endswith(f"WARNING mynamo.part: it took long table={shown}")
    assert "\n" not in line


def test_text_without_fields_is_as_ever() -> None:
    assert lines_of(LogConfig()).format(record("hello")).endswith("WARNING mynamo.part: hello")
