"""Numbers as bytes whose plain comparison is the order of the numbers.

The number code, in hexadecimal digits:

    zero        80
    positive    c0  exponent + 130   each digit + 1    0 or 00
    negative    40  125 - exponent   14 - each digit   f or ff

The exponent is that of d.ddd x 10^exponent, one byte. Digits are the significant
ones without trailing zeros, two to a byte. The end mark sorts below every digit
(above, for negatives), so 12 < 12.1 and -12.1 < -12, and no code is the beginning
of another. 3 to 22 bytes; `SELECT HEX(...)` can be read by eye.
"""

from __future__ import annotations

from decimal import Decimal

from mynamo.errors import CorruptData, InvalidItem
from mynamo.schemas.numbers import MAX_EXPONENT, MIN_EXPONENT, canonical_number

_ZERO = b"\x80"
_DIGITS = "0123456789"
_POSITIVE_DIGITS = "123456789a"
_NEGATIVE_DIGITS = "edcba98765"
_TO_POSITIVE = str.maketrans(_DIGITS, _POSITIVE_DIGITS)
_TO_NEGATIVE = str.maketrans(_DIGITS, _NEGATIVE_DIGITS)
_FROM_POSITIVE = str.maketrans(_POSITIVE_DIGITS, _DIGITS)
_FROM_NEGATIVE = str.maketrans(_NEGATIVE_DIGITS, _DIGITS)


def encode_number(value: Decimal) -> bytes:
    """The ordered code of a number, 1 to 22 bytes: codes compare as the numbers
    do, and 1 and 1.0 share one code.

    Raises InvalidItem if the value is not a DynamoDB number.
    """
    return encode_text(canonical_number(value))


def decode_number(data: bytes) -> Decimal:
    """The number of a code. Raises CorruptData if `encode_number` never makes it."""
    return Decimal(decode_text(data))


def encode_text(text: str) -> bytes:
    """The code of a number in canonical text."""
    if text == "0":
        return _ZERO
    negative = text[0] == "-"
    whole, _, fraction = text[negative:].partition(".")
    if whole == "0":
        digits = fraction.lstrip("0")
        exponent = len(digits) - len(fraction) - 1
    else:
        digits = (whole + fraction).rstrip("0")
        exponent = len(whole) - 1
    pad = 2 - len(digits) % 2
    if negative:
        body = digits.translate(_TO_NEGATIVE) + "f" * pad
        return bytes.fromhex(f"40{MAX_EXPONENT - exponent:02x}{body}")
    return bytes.fromhex(
        f"c0{exponent - MIN_EXPONENT:02x}{digits.translate(_TO_POSITIVE)}{'0' * pad}"
    )


def decode_text(data: bytes) -> str:
    """The canonical text of a number's code; CorruptData unless it encodes back."""
    if data == _ZERO:
        return "0"
    code = data.hex()
    if code.startswith("c0"):
        sign, exponent = "", int(code[2:4] or "0", 16) + MIN_EXPONENT
        digits = code[4:].rstrip("0").translate(_FROM_POSITIVE)
    else:
        sign, exponent = "-", MAX_EXPONENT - int(code[2:4] or "0", 16)
        digits = code[4:].rstrip("f").translate(_FROM_NEGATIVE)
    try:
        text = canonical_number(f"{sign}{digits}E{exponent - len(digits) + 1}")
    except InvalidItem:
        raise CorruptData from None
    if encode_text(text) != data:
        raise CorruptData
    return text
