"""Projections: which parts of an item an answer shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mynamo.errors import InvalidExpression
from mynamo.expressions.binding import bind_path
from mynamo.expressions.parser import Parser, check_size
from mynamo.expressions.path_trees import PathTree, insert, part_of
from mynamo.expressions.placeholders import Placeholders
from mynamo.expressions.syntax import PathSyntax
from mynamo.schemas.values import StoredItem

__all__ = ["Projection", "parse_projection"]

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
        check_size(text)
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
