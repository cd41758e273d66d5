"""How mynamo's files lie: no circle of imports, one name for one file, private names."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mynamo

PACKAGE = Path(mynamo.__file__).parent


def modules(package: Path) -> dict[str, Path]:
    """All modules of a package by their dotted names."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules that a file imports, wherever and for whatever: `TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module in known:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module


def circle(package: Path) -> list[str]:
    """The modules of a circle of imports, if there is one."""
    known = modules(package)
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_imports() -> None:
    assert circle(PACKAGE) == []


@pytest.mark.parametrize(
    "text", ["import made_up.b", "from made_up import b", "def f():\n    from made_up.b import x"]
)
def test_control_a_circle_is_found(tmp_path: Path, text: str) -> None:
    package = tmp_path / "made_up"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(text)
    (package / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made_up import a\n"
    )
    assert set(circle(package)) == {"made_up.a", "made_up.b"}


def test_one_name_one_file() -> None:
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if not path.stem.startswith("__"):
            places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


PUBLIC = {"_asdict", "_exit", "_replace"}
"""Names that the standard library documents: `os._exit`, and `_replace` of named tuples."""


def private_names_of_others(path: Path) -> set[str]:
    """The private names that a file uses of other objects, and that nothing in the file defines."""
    used, defined = set(), set(PUBLIC)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                if isinstance(node.ctx, ast.Store):
                    defined.add(node.attr)
            elif not node.attr.startswith("__"):
                used.add(node.attr)
    return used - defined


def test_private_names_of_kafka_python_are_in_one_file() -> None:
    """docs/dependencies.md lists them."""
    found = {
        path.relative_to(PACKAGE).as_posix(): private_names_of_others(path)
        for path in modules(PACKAGE).values()
    }
    assert {name for name, names in found.items() if names} == {"log/kafka_internals.py"}


@pytest.mark.parametrize(
    "text",
    [
        "def f(consumer): return consumer._cluster",
        "class A:\n    def f(self): self._consumer._fetcher.config = {}",
        "import kafka\nkafka.KafkaProducer._closed = True",
    ],
)
def test_control_a_private_name_is_found(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    assert private_names_of_others(file)
