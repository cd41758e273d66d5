"""Texts of policies: wildcards and policy variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Variables = Mapping[str, str]
"""What stands for `${NAME}`, by the name in lower case."""

ESCAPES: Variables = {"*": "*", "?": "?", "$": "$"}
"""`${*}`, `${?}` and `${$}` are those characters themselves."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}?")


def unknown_variable(text: str, variables: Variables) -> str | None:
    """The first `${...}` of a text that stands for nothing; None: there is none."""
    for found in _VARIABLE.finditer(text):
        if not found[0].endswith("}") or found[1].lower() not in variables:
            return found[0]
    return None


def resolved(text: str, variables: Variables) -> str:
    """The text with its variables replaced; wildcards have no meaning."""
    return _VARIABLE.sub(lambda found: variables[found[1].lower()], text)


def like(text: str, variables: Variables) -> Callable[[str], bool]:
    """A function that tells whether all of a value is like a text.

    `*` is any number of characters, `?` is one. What a variable stands for has no wildcards.
    """
    segments = [""]
    end = 0
    for found in _VARIABLE.finditer(text):
        _add(segments, text[end : found.start()])
        segments[-1] += re.escape(variables[found[1].lower()])
        end = found.end()
    _add(segments, text[end:])
    first, *others = segments
    # Atomic: the first place that fits a segment is as good as any, so nothing is tried twice,
    # and the time is linear in the value, which clients choose.
    body = "".join(f"(?>.*?{segment})" for segment in others[:-1])
    last = f".*{others[-1]}" if others else ""
    pattern = re.compile(first + body + last, re.DOTALL)
    return lambda value: pattern.fullmatch(value) is not None


def _add(segments: list[str], plain: str) -> None:
    """Add text without variables, as a regular expression; a `*` begins another segment."""
    first, *others = (re.escape(part).replace(r"\?", ".") for part in plain.split("*"))
    segments[-1] += first
    segments.extend(others)
