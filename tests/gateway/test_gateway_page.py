"""The program on docs/gateway.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


def test_the_program_reads_its_own_write(
    gateway_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert "http://127.0.0.1:8000" in program
    exec(program.replace("http://127.0.0.1:8000", gateway_url), {})  # noqa: S102
    assert capsys.readouterr().out == "['7']\n"
