"""DynamoDB's number type N: exact decimals of up to 38 significant digits.

Nothing here rounds. What does not fit is refused with the words DynamoDB uses.
Source of the limits: Amazon DynamoDB Developer Guide, "Supported data types and
naming rules": 38 digits of precision, zero, and magnitudes from 1E-130 to
9.9999999999999999999999999999999999999E+125, positive and negative. What is read, and what
has a magnitude, is as in Java's BigDecimal, with which DynamoDB reads numbers: a zero has the
magnitude of its exponent, so `0e126` is out of range, and an exponent is an int.
"""

from __future__ import annotations

import re
from decimal import Decimal

from mynamo.errors import InvalidItem

__all__ = [
    "MAX_DIGITS",
    "MAX_EXPONENT",
    "MIN_EXPONENT",
    "canonical_number",
    "format_number",
    "parse_number",
]

MAX_DIGITS = 38
MAX_EXPONENT = 125
MIN_EXPONENT = -130

_ZERO = Decimal(0)
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]+(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?)([0-9]+))?",
)
# Canonical already, and short enough to be in range whatever its digits are.
_CANONICAL = re.compile(
    r"0|-?(?:[1-9][0-9]{0,36}|(?:0|[1-9][0-9]{0,17})\.[0-9]{0,17}[1-9])",
)
_EXPONENT_DIGITS = 10
_MAX_INT = 2**31 - 1
"""Java's: the most that an exponent or a scale can be; the least is one below its negative."""
_MAX_BITS = (10 ** (MAX_EXPONENT + 1)).bit_length()
_ECHO = 100

_UNCONVERTIBLE = "The parameter cannot be converted to a numeric value"
_OVERFLOW = (
    "Number overflow. Attempting to store a number with magnitude larger than supported range"
)
_UNDERFLOW = (
    "Number underflow. Attempting to store a number with magnitude smaller than supported range"
)
_TOO_PRECISE = f"Attempting to store more than {MAX_DIGITS} significant digits in a Number"
_FLOAT = "Float types are not supported. Use Decimal types instead."


def parse_number(value: str | int | Decimal) -> Decimal:
    """Read a number exactly, or refuse it.

    Takes DynamoDB's text form (`-12.5`, `1e3`; ASCII digits, no spaces, no
    underscores), an int or a Decimal. Returns a finite Decimal of equal value,
    never a negative zero. Leading and trailing zeros do not count as digits.

    Raises InvalidItem: not a number, a float or bool, NaN or infinite, more than
    38 significant digits, or a magnitude outside 1E-130 .. 9.99..E+125 (of a zero:
    its exponent). The messages are DynamoDB's; the one for floats is boto3's.
    """
    if isinstance(value, str):
        return _in_range(_parse_text(value))
    if isinstance(value, Decimal):
        return _in_range(Decimal(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > _MAX_BITS:
            raise InvalidItem(_OVERFLOW)
        return _in_range(Decimal(value))
    if isinstance(value, float):
        raise InvalidItem(_FLOAT)
    raise InvalidItem(f"{_UNCONVERTIBLE}: {value!r:.{_ECHO}}")


def format_number(value: Decimal) -> str:
    """Write a number as DynamoDB returns it: plain digits, no exponent, no
    trailing zeros, `0` for every zero. Equal numbers give equal text.

    Takes a Decimal, normally from `parse_number`. Raises InvalidItem if its
    magnitude is outside DynamoDB's range, so that the text stays below 170
    characters (1E-130 takes 132); digits are not counted here.
    """
    if not value:
        return "0"
    _check_magnitude(value)
    text = format(value, "f")  # exact: without a precision, nothing is rounded
    return text.rstrip("0").rstrip(".") if "." in text else text


def canonical_number(value: str | int | Decimal) -> str:
    """The canonical text of a number: `format_number(parse_number(value))`, but
    several times faster for the short plain numbers most items hold.

    Raises InvalidItem as `parse_number` does.
    """
    if type(value) is str or type(value) is Decimal:
        text = str(value)
        if _CANONICAL.fullmatch(text):
            return text
    return format_number(parse_number(value))


def _parse_text(text: str) -> Decimal:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise InvalidItem(f"{_UNCONVERTIBLE}: {text:.{_ECHO}}" if text else _UNCONVERTIBLE)
    decimals, bare_decimals, sign, digits = match.groups("")
    if digits and not _is_scale(len(decimals or bare_decimals), sign, digits.lstrip("0")):
        raise InvalidItem(f"{_UNCONVERTIBLE}: {text:.{_ECHO}}")
    return Decimal(text)


def _is_scale(decimals: int, sign: str, exponent: str) -> bool:
    """Whether BigDecimal takes an exponent: it and the scale are each an int."""
    if len(exponent) > _EXPONENT_DIGITS:
        return False
    power = int(f"{sign}{exponent or 0}")
    return all(-_MAX_INT - 1 <= scale <= _MAX_INT for scale in (power, decimals - power))


def _in_range(value: Decimal) -> Decimal:
    _check_magnitude(value)
    if not value:
        return _ZERO
    digits = value.as_tuple().digits
    if len(digits) > MAX_DIGITS and any(digits[MAX_DIGITS:]):
        raise InvalidItem(_TOO_PRECISE)
    return value


def _check_magnitude(value: Decimal) -> None:
    if not value.is_finite():
        raise InvalidItem(f"{_UNCONVERTIBLE}: {value}")
    exponent = value.adjusted()
    if exponent > MAX_EXPONENT:
        raise InvalidItem(_OVERFLOW)
    if exponent < MIN_EXPONENT:
        raise InvalidItem(_UNDERFLOW)
