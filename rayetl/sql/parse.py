"""Text to sqlglot tree and back, with nothing lost on the way.

Every node with a position carries `meta["start"]` (character offset in the text) and every node carries
`meta["origin"]` (the config path the text came from).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from rayetl.errors import ConfigPath, Problem, SqlError, UnsupportedSqlError
from rayetl.sql.ddl import nearest_type, parse_data_type
from rayetl.sql.dialect import DIALECT, RaySqlParser, TextError, is_number

IN_PARTS = "compute it in several columns or steps"
"""What to do with SQL that is nested too deeply."""

_QUERY_STARTS = ("SELECT", "WITH", "FROM", "VALUES", "(", "TABLE", "MAP", "REDUCE")
_REFUSED_TOKENS = {"::", "|>", "->>", "#>", "#>>", "@>", "<@", "?", "@", ":=", "$"}
_NOISE = frozenset(
    ["as", "inner", "outer", "asc", "all", "(", ")", ",", ";", ".", "nulls", "first", "last", "recursive"]
)
_SYNONYMS = {
    "integer": "int",
    "numeric": "decimal",
    "dec": "decimal",
    "real": "float",
    "long": "bigint",
    "short": "smallint",
    "byte": "tinyint",
    "timestamp_ltz": "timestamp",
    "regexp": "rlike",
    "!=": "<>",
    "==": "=",
    "!": "not",
    "minus": "except",
    "date_type": "date",
    "double precision": "double",
}


_NULL_SAFE = ("is", "not", "distinct", "from", "<=>")
_NESTED_TYPE = re.compile(r"\bAS\s+((?:ARRAY|MAP|STRUCT)\s*<)", re.IGNORECASE)


def parse_query(text: str, origin: ConfigPath = ()) -> exp.Query:
    """A query (SELECT, VALUES, WITH, set operations) as a tree.

    Raises `SqlError` with the offset of the first syntax error, or when the text is not a single query;
    `UnsupportedSqlError` when a part of the text would be lost.
    """
    tokens = _tokens(text, origin)
    if tokens and tokens[0].text.upper() not in _QUERY_STARTS:
        message = f"only queries are run here; this begins with {tokens[0].text}"
        raise _error(message, origin, tokens[0].start, hint="write SELECT ... FROM ...")
    tree = _parse(text, tokens, origin, lambda parser: parser._parse_statement())
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(tree)
    if not isinstance(tree, exp.Query) or isinstance(tree, (exp.Table, exp.DML)):
        raise _error("this is not a query", origin, 0, hint="write SELECT ... FROM ...")
    return tree


def placed(tree: exp.Query, origin: ConfigPath) -> exp.Query:
    """A copy of a parsed query that says it came from `origin`."""
    copy = tree.copy()
    for node in copy.walk():
        node.meta["origin"] = origin
    return copy


def parse_expression(text: str, origin: ConfigPath = ()) -> exp.Expression:
    """One expression without a name. Raises as `parse_query`."""
    tree = parse_projection(text, origin)
    if isinstance(tree, (exp.Alias, exp.Aliases)):
        start = tree.args["alias"].meta.get("start") if tree.args.get("alias") else None
        raise _error("a name (AS ...) is not allowed here", origin, start or 0)
    return tree


def parse_projection(text: str, origin: ConfigPath = ()) -> exp.Expression:
    """One item of a select list: an expression, `expression AS name`, `*` or `t.*`.

    Raises as `parse_query`.
    """
    return _parse(text, _tokens(text, origin), origin, lambda parser: parser._parse_expression())


def as_expression(tree: object) -> exp.Expression:
    """The tree by the type that the rest of the room works with."""
    assert isinstance(tree, exp.Expression)
    return tree


def render(tree: exp.Expression, *, spent: bool = False) -> str:
    """The tree as Spark SQL text, pretty-printed, with names quoted where Spark needs it. A tree that is
    `spent` is not used afterwards and need not be copied."""
    generator = DIALECT.generator(pretty=True, normalize_functions=False, comments=False)
    return str(generator.generate(tree, copy=not spent))


def _tokens(text: str, origin: ConfigPath) -> list[Token]:
    try:
        tokens = DIALECT.tokenize(text)
    except TokenError:
        message, start = _token_fault(text)
        raise _error(message, origin, start) from None
    if not tokens:
        raise _error("the SQL text is empty", origin, 0)
    for token in tokens:
        if token.text in _REFUSED_TOKENS and token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER):
            raise _error(f"{token.text} is not an operator of Spark SQL 3.5", origin, token.start)
    return tokens


def _token_fault(text: str) -> tuple[str, int]:
    """Where a quote was opened that nothing closes; the start for any other trouble."""
    quote, start, index = "", 0, 0
    while index < len(text):
        char = text[index]
        if quote:
            index += char == "\\" and quote != "`"
            quote = "" if char == quote else quote
        elif text.startswith("--", index):
            index = text.find("\n", index) % (len(text) + 1)
        elif char in "'\"`":
            quote, start = char, index
        index += 1
    if quote:
        return f"the quote {quote} is opened here and never closed", start
    return "the SQL text cannot be split into words", 0


def _parse(
    text: str,
    tokens: list[Token],
    origin: ConfigPath,
    method: Callable[[Any], Any],
) -> exp.Expression:
    parser = RaySqlParser(dialect=DIALECT)
    try:
        trees = parser._parse(method, tokens, text)
    except TextError as error:
        raise _syntax_error(error, text, origin) from None
    except RecursionError:
        raise _error("the SQL text is nested too deeply", origin, 0, hint=IN_PARTS) from None
    except (ParseError, SqlglotError) as error:
        raise _error(str(error).split("\n")[0], origin, 0) from None
    found = [as_expression(tree) for tree in trees if tree is not None]
    if len(found) != 1:
        raise _error("one statement is wanted here, not several", origin, 0)
    tree = found[0]
    _mark(tree, origin)
    _prove_nothing_lost(tree, tokens, origin)
    return tree


def _syntax_error(error: TextError, text: str, origin: ConfigPath) -> SqlError:
    token = error.token
    start = token.start if token is not None and token.text else len(text.rstrip())
    at_end = token is None or not token.text or token.end + 1 >= len(text.rstrip())
    what = f"{token.text!r}" if token is not None and token.text else "the end"
    message = str(error)
    if message.startswith("Invalid expression"):
        return _error(f"unexpected {what}", origin, start)
    if message.startswith("Required"):
        return _type_error(text, start, origin) or _error(
            f"something is missing {'at' if at_end else 'before'} {what}", origin, start
        )
    expected = message.removeprefix("Expecting ").removeprefix("Expected ").rstrip(".")
    expected = expected.partition(" but got ")[0]
    if expected.startswith("TYPE") and token is not None and token.text.isidentifier():
        return _error(f"unknown type {token.text}", origin, start, nearest_type(token.text))
    if expected == ">" and (misfit := _type_error(text, start, origin)):
        return misfit
    return _error(f"expected {expected} near {what}", origin, start)


def _type_error(text: str, at: int, origin: ConfigPath) -> SqlError | None:
    """What is wrong with the nested type around `at`, in the words of the reader of types."""
    for found in reversed([*_NESTED_TYPE.finditer(text, 0, at)]):
        try:
            parse_data_type(_balanced(text[found.start(1) :]))
        except SqlError as error:
            (problem,) = error.problems
            return _error(problem.message, origin, found.start(1) + (problem.offset or 0), problem.hint)
    return None


def _balanced(text: str) -> str:
    """A text up to where its angle brackets are closed."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == ">" and depth == 0:
            return text[: index + 1]
    return text


def _error(message: str, origin: ConfigPath, offset: int, hint: str | None = None) -> SqlError:
    return SqlError([Problem("sql.syntax", message, path=origin, offset=offset, hint=hint)])


class _Marks(dict[str, Any]):
    """What a node knows of its text. The values never change, so that a copy of the tree shares them: to
    copy them as well was most of the work of copying a tree."""

    def __deepcopy__(self, _: object) -> _Marks:
        return _Marks(self)


def _mark(tree: exp.Expression, origin: ConfigPath) -> None:
    """Give every node its origin, and a start where one of its parts has one."""
    for node in reversed(list(tree.walk(bfs=True))):
        node._meta = meta = _Marks(node.meta, origin=origin)
        parent = node.parent
        start = meta.get("start")
        if start is not None and parent is not None and not _has_own_start(parent):
            known = parent.meta.get("start")
            parent.meta["start"] = start if known is None else min(known, start)


def _has_own_start(node: exp.Expr) -> bool:
    return "end" in node.meta


def _prove_nothing_lost(tree: exp.Expression, tokens: list[Token], origin: ConfigPath) -> None:
    """Write the tree back and compare the words: a word of the text that the tree does not hold would be
    a silently different query."""
    text = DIALECT.generator(comments=False, normalize_functions=False).generate(tree)
    try:
        written = Counter(word for token in DIALECT.tokenize(text) for word in _words(token))
    except TokenError:
        written = Counter()
    for node in tree.find_all(exp.NullSafeEQ, exp.Anonymous):
        written.update(node.meta.get("words", ()) if isinstance(node, exp.Anonymous) else _NULL_SAFE)
    for token in tokens:
        for word in _words(token):
            if written[word] == 0:
                message = f"{token.text} is not understood at this place"
                raise UnsupportedSqlError(
                    [Problem("sql.unsupported", message, path=origin, offset=token.start)]
                )
            written[word] -= 1


def _words(token: Token) -> list[str]:
    text = _SYNONYMS.get(token.text.lower(), token.text.lower())
    if token.token_type == TokenType.STRING:
        return text.split()
    if token.token_type == TokenType.NUMBER or is_number(token.text):
        return [text.lstrip("0.") or "0"]
    if token.token_type == TokenType.HINT:
        return []
    return [_SYNONYMS.get(word, word) for word in text.split() if word not in _NOISE]
