"""How a value of one type becomes a value of another, and how to tell where that loses something."""

from __future__ import annotations

from rayetl.quality.compile import ddl, text
from rayetl.records import dataclass
from rayetl.sql import types as t

WHOLE: dict[t.DataType, int] = {t.BYTE: 8, t.SHORT: 16, t.INT: 32, t.LONG: 64}
EXACT_BITS: dict[t.DataType, int] = {t.FLOAT: 24, t.DOUBLE: 53}
DIGITS: dict[t.DataType, int] = {t.BYTE: 3, t.SHORT: 5, t.INT: 10, t.LONG: 19}
TIMES = (t.TIMESTAMP, t.TIMESTAMP_NTZ)

WHOLE_TEXT = r"\A\s*[+-]?[0-9]+([.]0*)?\s*\z"
# Whether other digits than zeros stand in a number before its exponent.
NOT_ZERO = r"\A[^eE]*[1-9]"
# A time without a day is that time today, a zone is passed over where none is kept, and a seventh digit too.
DAY_FIRST = r"\A\s*[+-]?[0-9]{4}"
ZONED = r":[0-9:.\s]*[^0-9:.\s]"
FINER_THAN_MICROSECONDS = r"[.][0-9]{6}[0-9]*[1-9]"
DATE_TEXT = r"\A\s*[+-]?[0-9]{4,7}(-[0-9]{1,2}(-[0-9]{1,2})?)?\s*\z"


@dataclass(frozen=True, slots=True)
class Fit:
    """`value` is the SQL of the value in its new type. `lost` is TRUE for a row whose value does not
    survive and never NULL; `None` where every value survives."""

    value: str
    lost: str | None = None


def same(left: t.DataType, right: t.DataType) -> bool:
    """Whether two types differ at most in what may be NULL inside."""
    return str(left).lower() == str(right).lower()


def fitted(given: str, found: t.DataType, wanted: t.DataType, *, coerce: bool) -> Fit | None:
    """The value `given` of type `found` as a `wanted`; `None` if no value or not every kind of value fits.

    Without `coerce` only types of one family fit: whole numbers, decimals, floats, and what they widen to.
    """
    if same(found, wanted):
        return Fit(given)
    cast = f"CAST({given} AS {ddl(wanted)})"
    if widens(found, wanted):
        return Fit(cast)
    lost = _narrowed(given, cast, found, wanted)
    if lost is None and coerce:
        return _coerced(given, cast, found, wanted)
    return Fit(cast, lost) if lost is not None else None


def widens(found: t.DataType, wanted: t.DataType) -> bool:
    """Whether every value of `found` has its exact equal in `wanted`."""
    if same(found, wanted) or found == t.NULL:
        return True
    if found in WHOLE:
        if wanted in WHOLE:
            return WHOLE[found] <= WHOLE[wanted]
        if wanted in EXACT_BITS:
            return WHOLE[found] <= EXACT_BITS[wanted]
        if isinstance(wanted, t.DecimalType):
            return DIGITS[found] <= wanted.precision - wanted.scale
    if isinstance(found, t.DecimalType) and isinstance(wanted, t.DecimalType):
        whole = wanted.precision - wanted.scale >= found.precision - found.scale
        return whole and wanted.scale >= found.scale
    if isinstance(found, t.ArrayType) and isinstance(wanted, t.ArrayType):
        return widens(found.element, wanted.element)
    if isinstance(found, t.MapType) and isinstance(wanted, t.MapType):
        return widens(found.key, wanted.key) and widens(found.value, wanted.value)
    if isinstance(found, t.StructType) and isinstance(wanted, t.StructType):
        names = [[each.name.lower() for each in struct] for struct in (found, wanted)]
        return names[0] == names[1] and all(
            widens(a.type, b.type) for a, b in zip(found, wanted, strict=True)
        )
    return (found, wanted) in ((t.FLOAT, t.DOUBLE), (t.DATE, t.TIMESTAMP_NTZ))


def _narrowed(given: str, cast: str, found: t.DataType, wanted: t.DataType) -> str | None:
    """Numbers of one family in a smaller type."""
    if found in WHOLE and wanted in WHOLE:
        return _outside(given, wanted)
    if isinstance(wanted, t.DecimalType) and (found in WHOLE or isinstance(found, t.DecimalType)):
        return _changed(given, cast)
    if found == t.DOUBLE and wanted == t.FLOAT:
        return _changed(given, f"CAST({cast} AS double)")
    return None


def _coerced(given: str, cast: str, found: t.DataType, wanted: t.DataType) -> Fit | None:
    if found == t.STRING:
        lost = _parsed(given, cast, wanted)
        return Fit(cast, lost) if lost is not None else None
    if wanted == t.STRING:
        return Fit(cast) if _is_scalar(found) else None
    if _is_number(found) and _is_number(wanted):
        return Fit(cast, _between_numbers(given, cast, found, wanted))
    if found == t.DATE and wanted in TIMES:
        return Fit(cast)
    if found in TIMES and (wanted in TIMES or wanted == t.DATE):
        return Fit(cast, _changed(given, f"CAST({cast} AS {found})"))
    return None


def _parsed(given: str, cast: str, wanted: t.DataType) -> str | None:
    """Texts that Spark's cast cannot read, or reads with something left out."""
    if wanted in EXACT_BITS:
        endless = f"CAST({cast} AS string) LIKE '%Infinity' AND {given} RLIKE '[0-9]'"
        vanished = f"{cast} = 0 AND {_rlike(given, NOT_ZERO)}"
        return f"{_failed(given, cast)} OR coalesce({endless} OR {vanished}, false)"
    if wanted == t.BOOLEAN:
        return _failed(given, cast)
    if wanted in TIMES:
        dropped = [_rlike(given, FINER_THAN_MICROSECONDS), f"NOT {_rlike(given, DAY_FIRST)}"]
        dropped += [_rlike(given, ZONED)] if wanted == t.TIMESTAMP_NTZ else []
        return f"{_failed(given, cast)} OR coalesce({' OR '.join(dropped)}, false)"
    if wanted in WHOLE or wanted == t.DATE:
        form = DATE_TEXT if wanted == t.DATE else WHOLE_TEXT
        return f"{_failed(given, cast)} OR coalesce(NOT {_rlike(given, form)}, false)"
    if isinstance(wanted, t.DecimalType):
        scale = t.MAX_PRECISION - (wanted.precision - wanted.scale)
        exact = f"CAST({given} AS decimal({t.MAX_PRECISION},{scale}))"
        beyond = f"{_rlike(given, NOT_ZERO)} AND {_places(given)} > {scale}"
        return f"{_failed(given, cast)} OR coalesce({exact} <> {cast} OR {beyond}, false)"
    return None


def _rlike(given: str, form: str) -> str:
    return f"({given} RLIKE {text(form)})"


def _places(given: str) -> str:
    """How many digits a number in a text has after the point, once its exponent has moved that."""
    digits = f"length(regexp_extract({given}, {text('[.]([0-9]*[1-9])')}, 1))"
    exponent = f"CAST(regexp_extract({given}, {text('[eE]([+-]?[0-9]+)')}, 1) AS bigint)"
    return f"{digits} - coalesce({exponent}, 0)"


def _between_numbers(given: str, cast: str, found: t.DataType, wanted: t.DataType) -> str:
    if wanted in WHOLE:
        bits = WHOLE[wanted] - 1
        suffix = "BD" if isinstance(found, t.DecimalType) else ".0D"
        low, high = f"{-(2**bits)}{suffix}", f"{2**bits}{suffix}"
        inside = f"{given} >= {low} AND {given} < {high}"
        return f"coalesce(NOT ({inside}) OR {cast} <> {given}, false)"
    if wanted in EXACT_BITS and found in WHOLE:
        edge = 2 ** EXACT_BITS[wanted]
        return f"coalesce(NOT ({given} BETWEEN -{edge} AND {edge}), false)"
    return _changed(given, f"CAST({cast} AS {found})")


def _outside(given: str, wanted: t.DataType) -> str:
    bits = WHOLE[wanted] - 1
    return f"coalesce(NOT ({given} BETWEEN {-(2**bits)} AND {2**bits - 1}), false)"


def _changed(given: str, back: str) -> str:
    """Whether `back` is another value than the given one; one too large to be compared is."""
    return f"coalesce({back} <> {given}, {given} IS NOT NULL)"


def _failed(given: str, cast: str) -> str:
    return f"({given} IS NOT NULL AND {cast} IS NULL)"


def _is_number(kind: t.DataType) -> bool:
    return kind in WHOLE or kind in EXACT_BITS or isinstance(kind, t.DecimalType)


def _is_scalar(kind: t.DataType) -> bool:
    return _is_number(kind) or kind in (t.BOOLEAN, t.DATE, *TIMES)
