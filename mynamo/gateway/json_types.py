"""Scalars of JSON, and what is said of a value that is of a wrong type. Wording is AWS's."""

from __future__ import annotations

from typing import Any

from mynamo.gateway.errors import ServiceError
from mynamo.gateway.json_input import not_serializable

_MAP_STARTS = "Start of structure or map found where not expected."
_LIST_STARTS = "Start of list found where not expected"
_SCALARS = {float: "DECIMAL_VALUE", int: "NUMBER_VALUE", str: "STRING_VALUE"}


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return _SCALARS[type(value)]


def wrong_type(value: Any, java: str) -> ServiceError:
    """The error for a scalar that should have been another one, or for no scalar at all."""
    if type(value) is dict:
        return not_serializable(_MAP_STARTS)
    if type(value) is list:
        if java == "ByteBuffer":
            return not_serializable(_LIST_STARTS)
        return not_serializable(f"Unrecognized collection type class java.lang.{java}")
    return not_serializable(f"{_name_of(value)} cannot be converted to {java}")


def text(value: Any) -> Any:
    """A string, or SerializationException."""
    if type(value) is not str:
        raise wrong_type(value, "String")
    return value


def flag(value: Any) -> Any:
    """True or false, or SerializationException."""
    if type(value) is not bool:
        if type(value) is str:
            raise not_serializable("Unexpected token received from parser")
        raise wrong_type(value, "Boolean")
    return value


def not_a_map(value: Any, java: str) -> ServiceError:
    """The error for what should have been an object with any names."""
    if type(value) is list:
        return not_serializable(f"Unrecognized collection type {java}")
    return not_serializable("Unexpected field type")


def not_a_structure(value: Any, java: str) -> ServiceError:
    """The error for what should have been an object with certain members."""
    if type(value) is list:
        return not_serializable(f"Unrecognized collection type class {java}")
    return not_serializable("Unexpected value type in payload")


def not_a_list(value: Any) -> ServiceError:
    """The error for what should have been a list."""
    return not_serializable(_MAP_STARTS if type(value) is dict else "Unexpected field type")
