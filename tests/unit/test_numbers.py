"""DynamoDB numbers: exact, canonical, refused rather than rounded."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import InvalidItem
from mynamo.schemas.numbers import canonical_number, format_number, parse_number
from tests.strategies import EXTREMES, numbers

NINES = "9" * 38


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("0e125", "0"),
        ("-0E-130", "0"),
        ("0.00e127", "0"),
        ("0.0e-0129", "0"),
        (Decimal("0E-130"), "0"),
        ("1" + "0" * 100 + "e-0000000000100", "1"),
        ("00042", "42"),
        ("+5", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1.0", "1"),
        ("100", "100"),
        ("1.50", "1.5"),
        ("1.5E2", "150"),
        ("1e-3", "0.001"),
        ("1E+0000000000003", "1000"),
        (NINES, NINES),
        (f"0.{NINES}", f"0.{NINES}"),
        (f"000{NINES}000", f"{NINES}000"),
        (f"0.{'0' * 129}1", f"0.{'0' * 129}1"),
        ("0." + "0" * 200 + "1E200", "0.1"),
        ("1E125", "1" + "0" * 125),
        (7, "7"),
        (-(10**125), "-1" + "0" * 125),
        (Decimal("-0"), "0"),
        (Decimal("12.500"), "12.5"),
    ],
)
def test_canonical_text(value: Any, text: str) -> None:
    assert canonical_number(value) == text
    assert format_number(parse_number(value)) == text


def test_the_limits_themselves_are_in() -> None:
    for number in EXTREMES:
        assert parse_number(str(number)) == number


PRECISION = "Attempting to store more than 38 significant digits in a Number"
OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported"
UNCONVERTIBLE = "The parameter cannot be converted to a numeric value"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1" + NINES, PRECISION),
        ("1." + NINES, PRECISION),
        (10**38 + 1, PRECISION),
        (Decimal("1" + NINES), PRECISION),
        ("1E126", OVERFLOW),
        ("-1E126", OVERFLOW),
        ("1E2147483647", OVERFLOW),
        ("0e126", OVERFLOW),
        ("-0e126", OVERFLOW),
        ("0.00e128", OVERFLOW),
        (Decimal("0E+126"), OVERFLOW),
        (10**126, OVERFLOW),
        pytest.param(10**100000, OVERFLOW, id="a huge int"),
        (Decimal("1E+126"), OVERFLOW),
        ("9E-131", UNDERFLOW),
        ("-9E-131", UNDERFLOW),
        ("1E-2147483647", UNDERFLOW),
        ("0e-131", UNDERFLOW),
        ("0.00e-129", UNDERFLOW),
        ("0." + "0" * 131, UNDERFLOW),
        (Decimal("-0E-131"), UNDERFLOW),
        ("1E2147483648", f"{UNCONVERTIBLE}: 1E2147483648$"),
        ("0E99999999999999999999999", f"{UNCONVERTIBLE}: 0E9999"),
        ("1e-2147483649", UNCONVERTIBLE),
        ("1.5e-2147483647", UNCONVERTIBLE),
        ("0.5E+02147483648", UNCONVERTIBLE),
        ("1E" + "9" * 5000, UNCONVERTIBLE),
        (Decimal("1E-131"), UNDERFLOW),
        ("b", f"{UNCONVERTIBLE}: b$"),
        ("", f"{UNCONVERTIBLE}$"),
        *[
            (text, UNCONVERTIBLE)
            for text in (
                *(" 1", "1 ", "1\n", "1_000", "1,5", "--1", "1e", ".", "e5", "0x10", "1e1.5"),
                *("NaN", "sNaN", "Infinity", "-inf", "\u0661", "\uff11", "1" * 50 + "x" * 500),
            )
        ],
        (Decimal("NaN"), UNCONVERTIBLE),
        (Decimal("sNaN"), UNCONVERTIBLE),
        (Decimal("-Infinity"), UNCONVERTIBLE),
        (True, UNCONVERTIBLE),
        (None, UNCONVERTIBLE),
        (1.5, "Float types are not supported. Use Decimal types instead."),
        (float("nan"), "Float types are not supported"),
    ],
)
def test_refused_with_dynamodbs_words(value: Any, message: str) -> None:
    for read in (parse_number, canonical_number):
        with pytest.raises(InvalidItem, match=f"^{message}") as caught:
            read(value)
        assert len(str(caught.value)) < 200


@given(numbers())
def test_text_round_trip_is_exact_whatever_the_context_rounds_to(number: Decimal) -> None:
    with decimal.localcontext(prec=3):
        text = format_number(parse_number(number))
        assert parse_number(text) == number
        assert canonical_number(str(number)) == canonical_number(number) == text
    assert "E" not in text
    assert text != "-0"
    assert not ("." in text and text.endswith("0"))
    assert float(text) == float(number)


@given(numbers(), numbers())
def test_equal_numbers_and_only_they_share_their_text(a: Decimal, b: Decimal) -> None:
    assert (canonical_number(a) == canonical_number(b)) == (a == b)


@given(numbers(), st.integers(0, 20))
def test_zeros_at_either_end_do_not_count(number: Decimal, zeros: int) -> None:
    text = format_number(number)
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    padded = digits if "." in digits else f"{digits}."
    assert canonical_number(f"{sign}{'0' * zeros}{padded}{'0' * zeros}") == text


@given(st.from_regex(r"-?[0-9]{0,45}\.?[0-9]{0,45}", fullmatch=True))
def test_the_short_way_agrees_with_the_long_way(text: str) -> None:
    try:
        wanted: object = format_number(parse_number(text))
    except InvalidItem as error:
        wanted = str(error)
    try:
        got: object = canonical_number(text)
    except InvalidItem as error:
        got = str(error)
    assert got == wanted


def test_control_a_float_would_round() -> None:
    assert float(NINES) == float("9" * 37 + "8")
    assert parse_number(NINES) != parse_number("9" * 37 + "8")
