"""Our reading of Spark SQL: sqlglot's Spark dialect with everything removed that rewrites what was written.

Every function call parses to `exp.Anonymous(name, args)` with the arguments in order. Special forms keep
their own nodes only where they are grammar, not functions: `exp.Cast` / `exp.TryCast`, `exp.Extract`,
`exp.Trim` (only with FROM), `exp.Case`, `exp.Window`, `exp.Filter`, `exp.Interval`. A number with a suffix
(`1L`, `2.5BD`) is one `exp.Literal` that holds the text as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from sqlglot import exp, parser
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ParseError
from sqlglot.generators.spark import SparkGenerator
from sqlglot.parser import Parser as BaseParser
from sqlglot.parsers.spark import SparkParser
from sqlglot.tokenizer_core import Token, TokenType

from rayetl.errors import RayetlError

_NO_TOKEN = Token.string("")
_RANGE_TOKENS = (
    TokenType.BETWEEN,
    TokenType.ILIKE,
    TokenType.IN,
    TokenType.IS,
    TokenType.LIKE,
    TokenType.RLIKE,
)
_JOIN_HINTS = (
    *("BROADCAST", "BROADCASTJOIN", "MAPJOIN", "MERGE", "SHUFFLEMERGE", "MERGEJOIN"),
    *("SHUFFLE_HASH", "SHUFFLE_REPLICATE_NL"),
)


def assert_extensible(file: str | None) -> None:
    """Raises `RayetlError` if the parser of sqlglot, which is in `file`, is compiled: an ordinary class
    cannot extend that one, and fails with a TypeError at the first query."""
    if (file or "").endswith((".so", ".pyd")):
        raise RayetlError(
            "sqlglotc, the compiled form of sqlglot, is installed, and rayetl's SQL dialect cannot extend it",
            hint="pip uninstall sqlglotc; sqlglot itself stays",
        )


assert_extensible(parser.__file__)


class TextError(ParseError):
    """A syntax error that knows the token it stands at."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.token = token


class RaySqlParser(SparkParser):
    """sqlglot's parser without its function catalogue; see the module's docstring."""

    STRICT_CAST = True
    ADD_JOIN_ON_TRUE = False
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    ARRAY_CONSTRUCTORS: ClassVar[dict[str, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CASE": BaseParser.NO_PAREN_FUNCTION_PARSERS["CASE"],
    }
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CAST": lambda self: self._parse_cast(True),
        "TRY_CAST": lambda self: self._parse_cast(False, safe=True),
        "EXTRACT": lambda self: self._parse_extract(),
        "TRIM": lambda self: self._parse_trim_call(),
        "SUBSTRING": lambda self: self._parse_from_for_call("substring"),
        "SUBSTR": lambda self: self._parse_from_for_call("substr"),
        "POSITION": lambda self: self._parse_position_call(),
        "OVERLAY": lambda self: self._parse_overlay_call(),
        **{name: SparkParser.FUNCTION_PARSERS[name] for name in _JOIN_HINTS},
    }
    RANGE_PARSERS: ClassVar[dict[Any, Any]] = {
        token: SparkParser.RANGE_PARSERS[token] for token in _RANGE_TOKENS
    }
    COLUMN_OPERATORS: ClassVar[dict[Any, Any]] = {TokenType.DOT: None}
    CAST_COLUMN_OPERATORS: ClassVar[set[Any]] = set()
    PLACEHOLDER_PARSERS: ClassVar[dict[Any, Any]] = {}
    UNARY_PARSERS: ClassVar[dict[Any, Any]] = {
        **SparkParser.UNARY_PARSERS,
        TokenType.PLUS: lambda self: self._call("positive", [self._parse_unary()], "+"),
    }
    FUNC_TOKENS = SparkParser.FUNC_TOKENS - {TokenType.AND, TokenType.OR}
    TYPE_LITERAL_PARSERS: ClassVar[dict[Any, Any]] = {
        kind: lambda self, this, to: self._typed_literal(this, to)
        for kind in (exp.DType.DATE, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPLTZ)
    }

    def raise_error(self, message: str, token: Token = _NO_TOKEN) -> NoReturn:
        raise TextError(message, token if token.text else (self._curr or self._prev))

    def _parse_types(self, check_func: bool = False, *args: Any, **kwargs: Any) -> exp.Expr | None:
        """Types as written: CHAR(n) and VARCHAR(n) stay visible (the resolver makes them STRING)."""
        # A call, where a value may stand: to try it as a type first doubles with each call inside another.
        if check_func and self._next.token_type == TokenType.L_PAREN:
            return None
        return BaseParser._parse_types(self, check_func, *args, **kwargs)

    def _parse_primary(self) -> exp.Expr | None:
        if (
            self._curr.token_type == TokenType.VAR
            and self._curr.text[:1].isdigit()
            and is_number(self._curr.text)
        ):
            self._advance()
            return self._suffixed_number(self._prev)
        if (
            self._curr.token_type == TokenType.DOT
            and self._next.text[:1].isdigit()
            and is_number(self._next.text)
        ):
            self._advance(2)
            return self._suffixed_number(self._prev, "0.")
        return super()._parse_primary()

    def _parse_column_parts_fast(self) -> exp.Column | exp.Dot | None:
        if self._curr.token_type == TokenType.VAR and is_number(self._curr.text):
            return None
        return super()._parse_column_parts_fast()

    def _suffixed_number(self, token: Token, prefix: str = "") -> exp.Expr:
        return exp.Literal(this=prefix + token.text, is_string=False).update_positions(token)

    def _typed_literal(self, this: exp.Expr, to: exp.DataType) -> exp.Expr:
        """`DATE '2020-01-01'`: a cast that knows it was written as a literal (`meta["literal"]`)."""
        cast = self.expression(exp.Cast(this=this, to=to))
        cast.meta["literal"] = True
        return cast

    def _call(self, name: str, args: Sequence[exp.Expr | None], *words: str) -> exp.Anonymous:
        """A call that was written with `words` instead of commas."""
        call = exp.Anonymous(this=name, expressions=list(args))
        call.meta["words"] = words
        return call

    def _parse_trim_call(self) -> exp.Expr:
        """`trim(x)`, `trim(BOTH FROM x)`, `trim(LEADING y FROM x)`."""
        named = self._curr.text.upper() in self.TRIM_TYPES and self._next.token_type != TokenType.R_PAREN
        if named and self._next.token_type not in (TokenType.COMMA, TokenType.DOT):
            position = self._curr.text.upper()
            self._advance()
            chars = None if self._curr.token_type == TokenType.FROM else self._parse_bitwise()
            if not self._match(TokenType.FROM):
                self.raise_error("Expecting FROM")
            return self.expression(exp.Trim(this=self._parse_bitwise(), position=position, expression=chars))
        args = self._parse_function_args()
        if len(args) == 1 and self._match(TokenType.FROM):
            return self.expression(exp.Trim(this=self._parse_bitwise(), expression=args[0]))
        return self._call("trim", args)

    def _parse_from_for_call(self, name: str) -> exp.Expr:
        """`substring(x, a, b)` or `substring(x FROM a FOR b)`; both mean the same call."""
        args: list[exp.Expr | None] = list(self._parse_function_args())
        if self._match(TokenType.FROM):
            args.append(self._parse_bitwise())
            if self._match(TokenType.FOR):
                args.append(self._parse_bitwise())
            return self._call(name, args, "from", "for")
        return self._call(name, args)

    def _parse_position_call(self) -> exp.Expr:
        first = self._parse_bitwise()
        if self._match(TokenType.IN):
            return self._call("position", [first, self._parse_bitwise()], "in")
        if self._match(TokenType.COMMA):
            return self._call("position", [first, *self._parse_function_args()])
        return self._call("position", [first] if first else [])

    def _parse_overlay_call(self) -> exp.Expr:
        args: list[exp.Expr | None] = list(self._parse_function_args())
        if self._match_text_seq("PLACING"):
            args.append(self._parse_bitwise())
            for word in ("FROM", "FOR"):
                if self._match_text_seq(word):
                    args.append(self._parse_bitwise())
        return self._call("overlay", args, "placing", "from", "for")

    def _parse_interval(  # type: ignore[override]
        self, *_args: Any, **_kwargs: Any
    ) -> exp.Expr | None:
        """`INTERVAL '...'`, `INTERVAL '...' DAY TO HOUR`, `INTERVAL 1 DAY 2 HOURS` (kept as one text)."""
        index = self._index
        if not self._match(TokenType.INTERVAL):
            return None
        value = self._parse_primary() if self._curr.token_type == TokenType.STRING else self._parse_unary()
        if value is None or (isinstance(value, exp.Column) and not self._is_unit()):
            self._retreat(index)
            return None
        unit: exp.Var | exp.IntervalSpan | None = self._unit()
        if unit is not None and self._match_text_seq("TO"):
            unit = exp.IntervalSpan(this=unit, expression=self._unit())
        if isinstance(unit, exp.Var) and (rest := self._more_units()):
            text = " ".join(f"{amount} {name}" for amount, name in [(value.sql(), unit.name), *rest])
            return self.expression(exp.Interval(this=exp.Literal.string(text.replace("'", ""))))
        return self.expression(exp.Interval(this=value, unit=unit))

    def _is_unit(self) -> bool:
        return self._curr.text.upper() in INTERVAL_UNITS

    def _unit(self) -> exp.Var | None:
        if not self._is_unit():
            return None
        self._advance()
        return exp.Var(this=self._prev.text.upper())

    def _more_units(self) -> list[tuple[str, str]]:
        rest = []
        while self._curr.token_type in (TokenType.NUMBER, TokenType.STRING, TokenType.DASH):
            if self._curr.token_type == TokenType.DASH and self._next.token_type != TokenType.NUMBER:
                break
            index, amount = self._index, self._parse_unary()
            unit = self._unit()
            if amount is None or unit is None:
                self._retreat(index)
                break
            rest.append((amount.sql(), unit.name))
        return rest


_UNITS = ("YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")
_PARTS = ("MILLISECOND", "MICROSECOND", "NANOSECOND")
INTERVAL_UNITS = frozenset(unit + plural for unit in (*_UNITS, *_PARTS) for plural in ("", "S"))
_SUFFIXES = ("BD", "L", "S", "Y", "D", "F")


def is_number(text: str) -> bool:
    """Whether a word of the text is a numeric literal with one of Spark's type suffixes."""
    if not text[:1].isdigit():
        return False
    upper = text.upper()
    for suffix in _SUFFIXES:
        digits = upper.removesuffix(suffix)
        if digits != upper:
            mantissa, _, exponent = digits.partition("E")
            whole, _, fraction = mantissa.partition(".")
            numeric = (whole + fraction).isdigit()
            return numeric and (not exponent or exponent.lstrip("+-").isdigit())
    return False


class RaySqlGenerator(SparkGenerator):
    """Writes a tree of ours as text that Spark 3.5 runs."""

    def ignorenulls_sql(self, expression: exp.IgnoreNulls) -> str:
        return f"{self.sql(expression, 'this')} IGNORE NULLS"

    def interval_sql(self, expression: exp.Interval) -> str:
        unit = self.sql(expression, "unit")
        return f"INTERVAL {self.sql(expression, 'this')}" + (f" {unit}" if unit else "")

    def cast_sql(self, expression: exp.Cast, *_args: Any, **_kwargs: Any) -> str:
        if expression.meta.get("literal"):
            return f"{self.sql(expression, 'to')} {self.sql(expression, 'this')}"
        word = "TRY_CAST" if isinstance(expression, exp.TryCast) else "CAST"
        return f"{word}({self.sql(expression, 'this')} AS {self.sql(expression, 'to')})"

    def nullsafeeq_sql(self, expression: exp.NullSafeEQ) -> str:
        return self.binary(expression, "<=>")

    def trim_sql(self, expression: exp.Trim) -> str:
        parts = (expression.args.get("position"), self.sql(expression, "expression"), "FROM")
        return f"TRIM({' '.join(part for part in parts if part)} {self.sql(expression, 'this')})"

    TRANSFORMS: ClassVar[dict[Any, Any]] = {
        key: value
        for key, value in SparkGenerator.TRANSFORMS.items()
        if key not in (exp.Cast, exp.TryCast, exp.Trim, exp.Select, exp.Interval)
    }


class RaySql(Spark):
    """The dialect object to hand to sqlglot."""

    class Tokenizer(Spark.Tokenizer):
        NUMERIC_LITERALS: ClassVar[dict[str, str]] = {}

    Parser = RaySqlParser
    Generator = RaySqlGenerator


DIALECT = RaySql()
