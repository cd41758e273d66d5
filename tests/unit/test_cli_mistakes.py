"""Mistakes that the command line answers before it asks any server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mynamo.cli.app import root


@pytest.mark.parametrize(
    ("words", "status", "answer"),
    [
        ("index add orders --gsi aaa=x --gsi bbb=y", 2, "each command adds one index"),
        ("index add orders --gsi aaa=x --lsi bbb=y", 2, "each command adds one index"),
        ("index add orders", 2, "each command adds one index"),
        ("index add orders --gsi aaa=x:NUMBER", 1, "type after the colon must be S"),
        ("table create orders --hash-key id:NUMBER", 1, "type after the colon must be S"),
        ("table create orders --hash-key id --gsi aaa=x:N:NONSENSE", 1, "NONSENSE"),
        ("table create orders --hash-key id --sort-key a --lsi aaa=x:N:keys_only", 1, "keys_only"),
        ("query orders a --sort=", 2, "is not a sort condition"),
        ("query orders a --timeout nan", 2, "not a number of seconds"),
        ("query orders a --timeout -3", 2, "not a number of seconds"),
        ("query orders", 2, "either HASHVALUE or --key-condition"),
        ("query orders a --key-condition x=:x", 2, "either HASHVALUE or --key-condition"),
        ("query orders a --count --limit 5", 2, "one number for all pages"),
        ("scan orders --count --lines", 2, "one number for all pages"),
        ("scan orders --names [1]", 1, "in --names, which is JSON such as"),
        ("scan orders --values 5", 1, "in --values, which is JSON such as"),
        ("scan orders --projection a,,b", 2, "joined by commas"),
        ("dev --data /proc/nope", 1, "the folder /proc/nope cannot be used"),
    ],
)
def test_the_answer_says_what_is_wrong(words: str, status: int, answer: str) -> None:
    result = CliRunner().invoke(root, words.split())
    assert answer in result.output
    assert result.exit_code == status
    assert "Traceback" not in result.output
