"""Compare parsers of condition expressions: mynamo's own, and libraries with the same grammar.

    python benchmarks/expression_parsers.py

Each parses from text to a tree, without a cache. Run it in an environment of its own that has
mynamo and the others: lark pyparsing. What is not installed is left out.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from functools import partial

from mynamo.expressions import Placeholders, parse_condition
from mynamo.expressions.grammar import condition_syntax
from mynamo.schemas.values import StoredItem

ROUNDS = 5
ROUND_SECONDS = 0.4
TEXTS = {
    "one comparison": "price > :low",
    "usual": "attribute_not_exists(id) OR (#status = :open AND price BETWEEN :low AND :high)",
    "long": " AND ".join(
        f"(a{n}.b[{n}].c = :v{n} OR NOT contains(tags, :v{n}) OR size(a{n}) IN (:one, :two))"
        for n in range(12)
    ),
}
GRAMMAR = r"""
?start: either
?either: (both "OR")* both
?both: (negated "AND")* negated
?negated: "NOT" negated -> negation | test
?test: operand COMPARATOR operand -> comparison
    | operand "BETWEEN" operand "AND" operand -> between
    | operand "IN" "(" operand ("," operand)* ")" -> choice
    | call
    | "(" either ")"
?operand: path | VALUE -> value | call
call: NAME "(" operand ("," operand)* ")"
path: part ("." part | "[" DIGITS "]")*
part: NAME | PLACEHOLDER
COMPARATOR: "=" | "<>" | "<=" | ">=" | "<" | ">"
NAME: /[A-Za-z][A-Za-z0-9_]*/
PLACEHOLDER: /#[A-Za-z0-9_]+/
VALUE: /:[A-Za-z0-9_]+/
DIGITS: /[0-9]+/
%ignore /[ \t\r\n]+/
"""

Parse = Callable[[str], object]


def lark_parser() -> Parse:
    """An LALR(1) parser, lark's fastest."""
    import lark

    return lark.Lark(GRAMMAR, parser="lalr", lexer="contextual").parse


def pyparsing_parser() -> Parse:
    """A recursive descent of combinators, with pyparsing's memory of what was tried."""
    import pyparsing as pp

    pp.ParserElement.enable_packrat()
    words = {word: pp.Keyword(word) for word in ("AND", "OR", "NOT", "BETWEEN", "IN")}
    name = ~pp.MatchFirst(list(words.values())) + pp.Word(pp.alphas, pp.alphanums + "_")
    part = name | pp.Word("#", pp.alphanums + "_")
    index = pp.Suppress("[") + pp.Word(pp.nums) + pp.Suppress("]")
    path = pp.Group(part + pp.ZeroOrMore(pp.Suppress(".") + part | index))
    value = pp.Word(":", pp.alphanums + "_")
    operand = pp.Forward()
    operands = pp.Suppress("(") + pp.DelimitedList(operand) + pp.Suppress(")")
    call = pp.Group(name + operands)
    operand <<= value | call | path
    either = pp.Forward()
    test = (
        pp.Group(operand + pp.one_of("= <> <= >= < >") + operand)
        | pp.Group(operand + words["BETWEEN"] + operand + words["AND"] + operand)
        | pp.Group(operand + words["IN"] + operands)
        | call
        | pp.Suppress("(") + either + pp.Suppress(")")
    )
    negated = pp.Group(pp.ZeroOrMore(words["NOT"]) + test)
    both = pp.Group(pp.DelimitedList(negated, delim=words["AND"]))
    either <<= pp.Group(pp.DelimitedList(both, delim=words["OR"]))
    return lambda text: either.parse_string(text, parse_all=True)


def own_parser() -> Parse:
    """mynamo's, without its cache: with all of DynamoDB's checks of a text."""
    return condition_syntax.__wrapped__


PARSERS = {"mynamo": own_parser, "lark (LALR)": lark_parser, "pyparsing": pyparsing_parser}


def microseconds(work: Callable[[], object]) -> float:
    """The best of some rounds, in microseconds per call."""
    timer = timeit.Timer(work)
    count = max(1, timer.autorange()[0])
    seconds = timer.timeit(count) / count
    count = max(1, int(ROUND_SECONDS / seconds))
    return min(timer.repeat(ROUNDS, count)) / count * 1e6


def main() -> None:
    """Print what each takes, and then what mynamo takes with its cache."""
    print("parser".ljust(24) + "".join(f"{name:>18}" for name in TEXTS) + "   (us)")
    for name, make in PARSERS.items():
        try:
            parse = make()
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        times = [microseconds(partial(parse, text)) for text in TEXTS.values()]
        print(name.ljust(24) + "".join(f"{time:18.1f}" for time in times))
    item: StoredItem = {"id": {"S": "1"}, "status": {"S": "open"}, "price": {"N": "12.5"}}
    values = {":open": {"S": "open"}, ":low": {"N": "10"}, ":high": {"N": "20"}}
    text, names = TEXTS["usual"], {"#status": "status"}
    condition = parse_condition(text, Placeholders(names, values))
    assert condition.holds(item)
    bind = microseconds(lambda: parse_condition(text, Placeholders(names, values)))
    print(f'"usual", parsed before: placeholders put in {bind:.1f} us, ', end="")
    print(f"evaluated on an item {microseconds(lambda: condition.holds(item)):.1f} us")


if __name__ == "__main__":
    main()
