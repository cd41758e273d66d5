"""Projections: which parts of an item an answer shows.

The document paths of one expression become a tree, so that an item is walked through once.

A tree maps the parts of paths, names or list indexes, to branches; a branch is a tree
again, or whatever stands at the end of its path (which is no dict).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NoReturn, TypeAlias

from mynamo.errors import InvalidExpression
from mynamo.expressions.conditions import bind_path
from mynamo.expressions.nodes import Path, Value, member, path_text
from mynamo.expressions.parser import Parser, PathSyntax
from mynamo.expressions.placeholders import Placeholders
from mynamo.schemas.values import StoredItem

__all__ = ["PathTree", "Projection", "insert", "is_list", "leaves", "parse_projection", "part_of"]


PathTree: TypeAlias = dict[Any, Any]


def insert(tree: PathTree, path: Path, leaf: Any) -> PathTree:
    """Put a path into a tree; returns the branch in which its leaf stands.

    Raises:
        InvalidExpression: it overlaps with a path that is there, or one of them takes for a
            map what the other takes for a list. Without the name of the parameter.
    """
    parts = path.parts
    branch = tree
    for depth, (part, following) in enumerate(pairwise(parts), start=1):
        branch = branch.setdefault(part, {})
        if type(branch) is not dict:
            _refuse("overlap", parts, parts[:depth])
        if branch and is_list(branch) is not (type(following) is int):
            _refuse("conflict", parts, (*parts[:depth], *_some_path(branch)))
    last = parts[-1]
    if last in branch:
        _refuse("overlap", parts, (*parts, *_some_path(branch[last])))
    branch[last] = leaf
    return branch


def is_list(branch: PathTree) -> bool:
    """Whether a branch's parts are indexes of a list."""
    return type(next(iter(branch))) is int


def leaves(tree: PathTree) -> Iterator[Any]:
    """What stands at the ends of a tree's paths."""
    for branch in tree.values():
        if type(branch) is dict:
            yield from leaves(branch)
        else:
            yield branch


def _some_path(branch: Any) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    while type(branch) is dict:
        part, branch = next(iter(branch.items()))
        parts.append(part)
    return tuple(parts)


def _refuse(how: str, path: tuple[str | int, ...], other: tuple[str | int, ...]) -> NoReturn:
    raise InvalidExpression(
        f"Two document paths {how} with each other; must remove or rewrite one of these paths; "
        f"path one: {path_text(path)}, path two: {path_text(other)}"
    )


def part_of(item: StoredItem, tree: PathTree) -> StoredItem:
    """What an item has at the paths of a tree; list elements move up, in their order."""
    found = {}
    for name, branch in tree.items():
        value = item.get(name)
        if value is not None:
            part = _part_of_value(value, branch)
            if part is not None:
                found[name] = part
    return found


def _part_of_value(value: Value, branch: Any) -> Value | None:
    if type(branch) is not dict:
        return value
    if not is_list(branch):
        members = value.get("M")
        found = part_of(members, branch) if members else None
        return {"M": found} if found else None
    parts = []
    for index in sorted(branch):
        element = member(value, index)
        part = _part_of_value(element, branch[index]) if element is not None else None
        if part is not None:
            parts.append(part)
    return {"L": parts} if parts else None


_CACHED = 1024


@dataclass(frozen=True, slots=True)
class Projection:
    """Document paths to answer with.

    Attributes:
        names: the top-level attributes it looks at.
        tree: its paths.
    """

    names: frozenset[str]
    tree: PathTree

    @classmethod
    def naming(cls, names: Iterable[str]) -> Projection:
        """The projection on whole top-level attributes."""
        tree: PathTree = dict.fromkeys(names)
        return cls(frozenset(tree), tree)

    @classmethod
    def showing(
        cls, paths: Iterable[PathSyntax], placeholders: Placeholders | None = None
    ) -> Projection:
        """The projection on document paths.

        Raises:
            InvalidExpression: a placeholder is not defined, a path is too long, or two do not
                fit each other. Without the name of the parameter.
        """
        known = placeholders or Placeholders()
        tree: PathTree = {}
        for path in paths:
            insert(tree, bind_path(path, known), None)
        return cls(frozenset(tree), tree)

    def of(self, item: StoredItem) -> StoredItem:
        """The part of an item that it shows; what the item lacks is left out."""
        return part_of(item, self.tree)


def parse_projection(text: str, placeholders: Placeholders) -> Projection:
    """The projection that a text means.

    Raises:
        InvalidExpression: DynamoDB's message.
    """
    try:
        # DynamoDB looks at them from the last to the first, as its messages show.
        return Projection.showing(reversed(_paths_syntax(text)), placeholders)
    except InvalidExpression as error:
        raise InvalidExpression(f"Invalid ProjectionExpression: {error}") from None


@lru_cache(_CACHED)
def _paths_syntax(text: str) -> tuple[PathSyntax, ...]:
    parser = Parser(text)
    paths = [parser.path()]
    while parser.tokens.kind == ",":
        parser.tokens.take()
        paths.append(parser.path())
    parser.finish()
    return tuple(paths)
