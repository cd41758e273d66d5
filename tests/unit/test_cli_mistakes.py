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
        ("dev --data /proc/nope", 1, "the folder /proc/nope cannot be used"),
    ],
)
def test_the_answer_says_what_is_wrong(words: str, status: int, answer: str) -> None:
    result = CliRunner().invoke(root, words.split())
    assert answer in result.output
    assert result.exit_code == status
    assert "Traceback" not in result.output
