"""The pages under docs/ say what is so, as far as a test can tell."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from botocore.session import Session

from mynamo.gateway.service import OPERATIONS
from mynamo.gateway.unsupported import UNSUPPORTED
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent, load_event

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.glob("*.md"))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """What its headings can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_linked_is_there(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)#?([^):\s]*)\)", text_of(page)):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:mynamo|tests|deploy|benchmarks)/[\w./-]+)`", text_of(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_tests_that_the_architecture_names_are_there() -> None:
    named = re.findall(r"`(?:\w+/)?(test_\w+\.py)`", text_of(DOCS / "architecture.md"))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(named) - there == set()


def test_every_operation_is_in_the_table_as_it_is() -> None:
    page = text_of(DOCS / "differences-from-dynamodb.md")
    rows = dict(re.findall(r"^\| ([A-Z]\w+) \| (same|different|not yet)", page, re.MULTILINE))
    operations = Session().get_service_model("dynamodb").operation_names
    streams = Session().get_service_model("dynamodbstreams").operation_names
    assert {rows[name] == "not yet" for name in streams} == {False}
    described = {name: state == "not yet" for name, state in rows.items() if name in operations}
    assert described == {name: name in UNSUPPORTED for name in operations}
    assert {*operations, *streams} == OPERATIONS.keys() | UNSUPPORTED
    assert f"({len(operations)} operations)" in page


def test_the_event_that_is_shown_is_one() -> None:
    page = text_of(DOCS / "streams.md")
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    event = load_event(shown.encode())
    assert set(json.loads(shown)) == set(ChangeEvent.model_fields) - {"expired"}
    assert event.table == "orders"


def test_the_readme_promises_no_operation_that_is_not_there() -> None:
    """What is not there is named as such, in one place."""
    page = text_of(ROOT / "README.md")
    (missing,) = re.findall(r"\* You need what is not there yet: (.*?)\n\*", page, re.DOTALL)
    operations = set(Session().get_service_model("dynamodb").operation_names)
    named = set(re.findall(r"\b[A-Z]\w+", missing)) & operations
    assert len(named) >= 6
    assert named <= UNSUPPORTED
    elsewhere = set(re.findall(r"\b[A-Z]\w+", page.replace(missing, "")))
    assert elsewhere & operations <= OPERATIONS.keys() - UNSUPPORTED
    for word in ("PartiQL", "backup", "global tables"):
        assert word.lower() in missing.lower()
        assert word.lower() not in page.replace(missing, "").lower()


def test_configurations_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "any.pem"
    file.touch()
    given: dict[str, object] = {}
    for page in (ROOT / "README.md", DOCS / "operations.md", DOCS / "gateway.md"):
        for block in re.findall(r"```toml\n(.*?)```", text_of(page), flags=re.DOTALL):
            given |= tomllib.loads(re.sub(r'"/etc/[^"]*"', f'"{file}"', block))
    config = ClusterConfig(**given)  # type: ignore[arg-type]
    assert len(config.shards) == 2
    assert len(config.gateway.credentials) == 2
