"""The syntax of expressions, its limits, and the messages for what is wrong with it."""

from __future__ import annotations

import pytest

from mynamo.expressions.reserved import RESERVED_WORDS
from tests.unit.expressing import NAMES, condition, projection, refusal, update


def syntax_error(token: str, near: str) -> str:
    return f'Syntax error; token: "{token}", near: "{near}"'


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [
        (" ", "<EOF>", " "),
        ("a", "<EOF>", "a"),
        ("  a", "<EOF>", "a"),
        ("a =", "<EOF>", "="),
        ("a = ", "<EOF>", "= "),
        ("  = a", "=", "  = a"),
        (" b a ", "a", "b a "),
        ("a = :n b", "b", ":n b"),
        ("a = = :n", "=", "= = :n"),
        ("a = :n)", ")", ":n)"),
        ("(a = :n", "<EOF>", ":n"),
        ("a @ :n", "@", "a @ :n"),
        ("a = 'x'", "'", "= 'x"),
        ("a = 1", "1", "= 1"),
        ("a[-1] = :n", "-", "[-1"),
        ("a[00] = :n", "0", "00]"),
        ("a[x] = :n", "x", "[x]"),
        ("a..b = :n", ".", "..b"),
        ("_a = :n", "_", "_a"),
        ("1a = :n", "1", "1a"),
        ("a-b = :n", "-", "a-b"),
        ("é = :n", "é", "é ="),
        ("a < > :n", ">", "< > :n"),
        ("a != :n", "!", "a !="),
        ("a in :n", ":n", "in :n"),
        ("a in ()", ")", "()"),
        ("a in (:n,)", ")", ",)"),
        ("a not in (:n)", "not", "a not in"),
        ("a between :n or :n", "or", ":n or :n"),
        ("a and b", "and", "a and b"),
        ("not a", "<EOF>", "a"),
        ("a = :n AND AND b = :n", "AND", "AND AND b"),
        ("(a = :n) = :n", "=", ") = :n"),
        ("(a) and b = :n", "and", ") and b"),
        ("size(a).b = :n", ".", ").b"),
        ("attribute_exists()", ")", "()"),
        ("#a(b)", "(", "#a(b"),
        (":n.a = :n", ".", ":n.a"),
        ("a + :n = :n", "+", "a + :n"),
        ("set = :n", "set", "set ="),
        ("a.or = :n", "or", ".or ="),
    ],
)
def test_a_syntax_error_names_the_first_token_that_cannot_be_there(
    text: str, token: str, near: str
) -> None:
    assert refusal(condition, text, NAMES, n=1) == syntax_error(token, near)


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [
        ("set", "<EOF>", "set"),
        ("foo a = :n", "foo", "foo a"),
        ("set a = :n,", "<EOF>", ","),
        ("set a = :n b = :n", "b", ":n b ="),
        ("set a = :n + :n + :n", "+", ":n + :n"),
        ("set a = (:n + :n) + :n", "+", ") + :n"),
        ("set a = -:n", "-", "= -:n"),
        ("set a = if_not_exists(b, :n + :n)", "+", ":n + :n"),
        ("set size(a) = :n", "(", "size(a"),
        ("set :n = :n", ":n", "set :n ="),
        ("remove :n", ":n", "remove :n"),
        ("add a b", "b", "a b"),
        ("add a = :n", "=", "a = :n"),
        ("delete a", "<EOF>", "a"),
        ("remove a set", "<EOF>", "set"),
    ],
)
def test_syntax_errors_of_updates(text: str, token: str, near: str) -> None:
    assert refusal(update, text, n=1) == syntax_error(token, near)


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [("a,", "<EOF>", ","), (",a", ",", ",a"), ("a b", "b", "a b"), ("(a)", "(", "(a"), (":v",) * 3],
)
def test_syntax_errors_of_projections(text: str, token: str, near: str) -> None:
    assert refusal(projection, text) == syntax_error(token, near)


@pytest.mark.parametrize("parse", [condition, update, projection])
def test_empty_and_large_texts(parse: object) -> None:
    assert refusal(parse, "") == "The expression can not be empty;"  # type: ignore[arg-type]
    large = "é" * 2049
    assert refusal(parse, large) == (  # type: ignore[arg-type]
        "Expression size has exceeded the maximum allowed size; expression size: 4098"
    )


def test_a_text_of_4_kilobytes_is_taken() -> None:
    assert condition("a = :n" + " " * 4090, n=1).names == {"a"}


REDUNDANT = "The expression has redundant parentheses;"


@pytest.mark.parametrize(
    "text",
    [
        "((a = :n))",
        "NOT ((a = :n))",
        "((a)) = :n",
        "size(((a))) = :n",
        "a in (((:n)))",
        "((not a = :n))",
        "(((a = :n) and (b = :n)))",
        "((a = :n)) and b = ",
    ],
)
def test_redundant_parentheses(text: str) -> None:
    assert refusal(condition, text, n=1) == REDUNDANT


@pytest.mark.parametrize("text", ["((:n))", "((:n + :n))", ":n + ((:n))", "((a))a = "])
def test_redundant_parentheses_in_updates(text: str) -> None:
    assert refusal(update, f"set a = {text}", n=1) == REDUNDANT


@pytest.mark.parametrize(
    "text",
    [
        "(a) = (:n)",
        "((a) = (:n))",
        "(a = :n) and (b = :n)",
        "((a = :n) and (b = :n))",
        "(not (a = :n))",
        "size((a)) = :n",
        "a in ((:n))",
        "(size(a)) = :n",
        "(attribute_exists((a))) or a = :n",
        "a between(:n)and(:n)",
    ],
)
def test_parentheses_that_are_not_redundant(text: str) -> None:
    assert "a" in condition(text, n=1).names


def test_reserved_words_in_any_case() -> None:
    assert len(RESERVED_WORDS) == 573
    message = "Attribute name is a reserved keyword; reserved keyword: "
    assert refusal(condition, "Name = :n", n=1) == f"{message}Name"
    assert refusal(condition, "a.b.status = :n", n=1) == f"{message}status"
    assert refusal(update, "set a = if_not_exists(name, :n)", n=1) == f"{message}name"
    assert refusal(projection, "a, name, a") == f"{message}name"
    assert condition("#name = :n", NAMES, n=1).names == {"name"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo(a)", "Invalid function name; function: foo"),
        ("ATTRIBUTE_EXISTS(a)", "Invalid function name; function: ATTRIBUTE_EXISTS"),
        (
            "size(a)",
            "The function is not allowed to be used this way in an expression; function: size",
        ),
        (
            "begins_with(begins_with(a, :n), :n)",
            "The function is not allowed to be used this way in an expression; "
            "function: begins_with",
        ),
        (
            "if_not_exists(a, :n) = :n",
            "The function is not allowed in a condition expression; function: if_not_exists",
        ),
        (
            "a[2147483648] = :n",
            "List index is not within the allowable range; index: [2147483648]",
        ),
    ],
)
def test_names_of_functions_and_indexes(text: str, message: str) -> None:
    assert refusal(condition, text, n=1) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set a = foo(b)", "Invalid function name; function: foo"),
        ("set a = size(b)", "The function is not allowed in an update expression; function: size"),
        (
            "set a = list_append(list_append(a, b), b)",
            "The function is not allowed to be used this way in an expression; "
            "function: list_append",
        ),
        (
            "set a = :n set b = :n",
            'The "SET" section can only be used once in an update expression;',
        ),
    ],
)
def test_functions_and_sections_of_updates(text: str, message: str) -> None:
    assert refusal(update, text, n=1) == message


def test_the_first_fault_of_the_text_is_reported_and_the_kinds_have_an_order() -> None:
    reserved = "Attribute name is a reserved keyword; reserved keyword: name"
    unknown = "Invalid function name; function: foo"
    assert refusal(condition, "name = :n and foo(a)", n=1) == reserved
    assert refusal(condition, "foo(a) and name = :n", n=1) == unknown
    assert refusal(condition, "foo(name)", n=1) == unknown  # a function before its operands
    assert refusal(condition, "#zz = :zz and name = :n", n=1) == reserved
    assert refusal(condition, "name = :n and ((a = :n))", n=1) == REDUNDANT
    assert refusal(condition, "name = :n and", n=1) == syntax_error("<EOF>", "and")
    assert refusal(update, "set name = :n set b = :n", n=1) == reserved


def test_paths_of_at_most_32_parts() -> None:
    assert condition(".".join("a" * 32) + " = :n", n=1).names == {"a"}
    message = "The document path has too many nesting levels; nesting levels: 33"
    assert refusal(condition, ".".join("a" * 33) + " = :n", n=1) == message
    assert refusal(projection, "a" + "[0]" * 32) == message


TOO_MANY = "The expression contains too many operators; operator count: 301"


@pytest.mark.parametrize(
    ("most", "more"),
    [
        (" and ".join(["a = :n"] * 150), " and ".join(["a = :n"] * 151)),
        ("not " * 299 + "a = :n", "not " * 300 + "a = :n"),
        ("not(" * 299 + "a = :n" + ")" * 299, "not(" * 300 + "a = :n" + ")" * 300),
        (
            "(".join(["a = :n and "] * 149) + "a = :n" + ")" * 148,
            "(".join(["a = :n and "] * 150) + "a = :n" + ")" * 149,
        ),
        (
            "(".join(["a = :n or ", "a = :n and "] * 74) + "(a = :n" + ")" * 148,
            "(".join(["a = :n or ", "a = :n and "] * 76) + "(a = :n" + ")" * 152,
        ),
    ],
)
def test_at_most_300_operators(most: str, more: str) -> None:
    assert condition(most, n=1).holds({"a": {"N": "1"}}) in (True, False)
    assert refusal(condition, more, n=1) == TOO_MANY


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4096,
        ")" * 4096,
        "(" * 2045 + "a=:n" + ")" * 2045,
        "not " * 1020 + "a=:n",
        "not(" * 800 + "a=:n" + ")" * 800,
        "size(" * 680 + "a" + ")" * 680 + "=:n",
        "size((" * 580 + "a" + "))" * 580 + "=:n",
        "a" + ".a" * 2000 + "=:n",
        "a" + "[0]" * 1300 + "=:n",
        "a in (" + ",".join([":n"] * 1300) + ")",
        "a in (" + "(" * 2000,
        "f(" * 2000,
        "a=:n and(" * 400,
        "a between " * 400,
        "é" * 2000,
        "\x00" * 4000,
    ],
)
@pytest.mark.parametrize("parse", [condition, update, projection])
def test_no_text_exhausts_the_stack(parse: object, text: str) -> None:
    assert refusal(parse, text[:4096], n=1)  # type: ignore[arg-type]
    assert refusal(parse, f"set a = {text}"[:4096], n=1)  # type: ignore[arg-type]


def test_deeply_nested_functions_of_updates() -> None:
    text = "set a=" + "if_not_exists(b," * 239 + ":n" + ")" * 239
    assert update(text, n=1).apply({}) == {"a": {"N": "1"}}


def test_keywords_in_any_case_and_spaces_anywhere() -> None:
    one = condition("NOT a.b [ 0 ]=:n aNd c BETWEEN :n And :n OR size ( d )IN(:n,:n)", n=1)
    assert one.names == {"a", "c", "d"}
    two = condition("not(a . b[0] = :n)\r\n\tAND c between :n and :n or size(d) in (:n, :n)", n=1)
    assert one == two


def test_a_text_is_parsed_once_for_all_placeholders() -> None:
    text = "#a = :v"
    assert condition(text, {"#a": "x"}, v=1) != condition(text, {"#a": "y"}, v=2)
    assert condition(text, {"#a": "x"}, v=1).names == {"x"}
