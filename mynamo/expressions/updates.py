"""Updates: from an item to the item as it is to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mynamo.errors import InvalidExpression, InvalidItem
from mynamo.expressions.actions import Action, Add, Delete, Remove, Set
from mynamo.expressions.conditions import bind_operand, bind_path
from mynamo.expressions.grammar import update_syntax
from mynamo.expressions.nodes import Literal, Path, Value
from mynamo.expressions.parser import ActionSyntax
from mynamo.expressions.placeholders import Placeholders
from mynamo.expressions.projections import PathTree, insert, is_list, leaves, part_of
from mynamo.schemas.values import MAX_LEVELS, StoredItem

__all__ = ["TYPE_NAMES", "Update", "parse_update"]

TOO_DEEP = "Nesting Levels have exceeded supported limits"
INVALID_PATH = "The document path provided in the update expression is invalid for update"

_ADDABLE = frozenset({"N", "SS", "NS", "BS"})
_DELETABLE = frozenset({"SS", "NS", "BS"})
TYPE_NAMES = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "BOOL": "BOOLEAN",
    "NULL": "NULL",
    "L": "LIST",
    "M": "MAP",
}
"""As messages about ADD and DELETE name the types they do not take."""


@dataclass(frozen=True, slots=True)
class Update:
    """Changes at document paths that do not overlap, all made at once.

    Attributes:
        names: the top-level attributes that it changes.
        tree: its actions by their paths.
    """

    names: frozenset[str]
    tree: PathTree

    @classmethod
    def of(cls, actions: Sequence[Action]) -> Update:
        """The update that takes all these actions.

        Raises:
            InvalidExpression: the paths of two overlap.
        """
        tree: PathTree = {}
        for action in actions:
            insert(tree, action.path, action)
        return cls(frozenset(tree), tree)

    @classmethod
    def setting(cls, attributes: StoredItem, remove: Iterable[str] = ()) -> Update:
        """The update that sets and removes whole top-level attributes.

        Args:
            attributes: to set, with their values.
            remove: names; what is both set and removed is removed.
        """
        tree: PathTree = {name: Set(Path(name), Literal(it)) for name, it in attributes.items()}
        tree.update((name, Remove(Path(name))) for name in remove)
        return cls(frozenset(tree), tree)

    def apply(self, item: StoredItem) -> StoredItem:
        """The item after the update: a new one, which shares with the argument all that the
        update leaves alone. Operands see the item as it was before all of it.

        Raises:
            InvalidItem: a path leads nowhere, an operand is missing or of the wrong type, a
                number is out of range, or values are nested too deeply.
        """
        return changed_members(item, self.tree, item, 1)

    def touched(self, item: StoredItem) -> StoredItem:
        """What an item has at the paths of the update: the item before it for UPDATED_OLD, the
        item after it for UPDATED_NEW. Where it removed a list element, that is then the one
        that moved up."""
        return part_of(item, self.tree)

    def only_removes(self) -> bool:
        """Whether there is nothing in it but REMOVE and DELETE: of an item that does not exist
        it makes none. An update that says nothing does make one."""
        return bool(self.tree) and all(action.removes for action in leaves(self.tree))


def parse_update(text: str, placeholders: Placeholders) -> Update:
    """The update that a text means.

    Raises:
        InvalidExpression: DynamoDB's message.
    """
    tree: PathTree = {}
    try:
        # DynamoDB looks at all paths first and then at all operands, both from the last to
        # the first, as the order of its errors shows.
        backwards = update_syntax(text)[::-1]
        places = []
        for syntax in backwards:
            path = bind_path(syntax.path, placeholders)
            places.append((path, insert(tree, path, None)))
        for syntax, (path, branch) in zip(backwards, places, strict=True):
            branch[path.parts[-1]] = _action(syntax, path, placeholders)
    except InvalidExpression as error:
        raise InvalidExpression(f"Invalid UpdateExpression: {error}") from None
    return Update(frozenset(tree), tree)


def _action(syntax: ActionSyntax, path: Path, placeholders: Placeholders) -> Action:
    if syntax.operand is None:
        return Remove(path)
    operand = bind_operand(syntax.operand, placeholders)
    if syntax.clause == "SET":
        return Set(path, operand)
    assert isinstance(operand, Literal)  # noqa: S101
    (kind,) = operand.constant
    if kind not in (_ADDABLE if syntax.clause == "ADD" else _DELETABLE):
        raise InvalidExpression(
            "Incorrect operand type for operator or function; "
            f"operator: {syntax.clause}, operand type: {TYPE_NAMES[kind]}, "
            f"typeSet: ALLOWED_FOR_{syntax.clause}_OPERAND"
        )
    return Add(path, operand) if syntax.clause == "ADD" else Delete(path, operand)


def changed_members(
    members: StoredItem, tree: PathTree, item: StoredItem, level: int
) -> StoredItem:
    """The members of a map, or of the item, after the actions of a tree; see `changed_value`."""
    new = dict(members)
    for name, branch in tree.items():
        value = changed_value(members.get(name), branch, item, level)
        if value is None:
            new.pop(name, None)
        else:
            new[name] = value
    return new


def _changed_elements(
    elements: list[Value], tree: PathTree, item: StoredItem, level: int
) -> list[Value]:
    """Indexes mean elements as they were before; those beyond the end are appended."""
    new: list[Value | None] = list(elements)
    for index in sorted(tree):
        inside = index < len(elements)
        value = changed_value(elements[index] if inside else None, tree[index], item, level)
        if inside:
            new[index] = value
        else:
            new.append(value)
    return [value for value in new if value is not None]


def changed_value(
    old: Value | None, branch: PathTree | Action, item: StoredItem, level: int
) -> Value | None:
    """The new value at a path of the item, for a tree or an action; None: none.

    Args:
        level: of nesting of the value, 1 for a top-level attribute.
    """
    if not isinstance(branch, dict):
        value = branch.change(old, item)
        if value is not None and level + _depth(value) - 1 > MAX_LEVELS:
            raise InvalidItem(TOO_DEEP)
        return value
    kind = "L" if is_list(branch) else "M"
    if old is None or kind not in old:
        raise InvalidItem(INVALID_PATH)
    if kind == "M":
        return {"M": changed_members(old["M"], branch, item, level + 1)}
    return {"L": _changed_elements(old["L"], branch, item, level + 1)}


def _depth(value: Value) -> int:
    """The levels of a value: 1 for one that cannot have members. An empty list or map
    counts like one with a member, as observed of DynamoDB."""
    ((kind, body),) = value.items()
    if kind not in ("L", "M"):
        return 1
    return 1 + max(map(_depth, body if kind == "L" else body.values()), default=1)
