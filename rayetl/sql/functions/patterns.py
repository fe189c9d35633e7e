"""Spark's date patterns and Java's regular expressions, turned into what Polars understands.

Whatever has no exact counterpart is refused when the query is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from rayetl.sql.functions.base import TypeFault
from rayetl.sql.lazy import LazyModule

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

_READ = {
    "yyyy": ("year", r"\d{4}|\+\d{5,6}"), "y": ("year", r"\d{1,6}"), "MM": ("month", r"\d{2}"),
    "dd": ("day", r"\d{2}"), "DDD": ("yearday", r"\d{3}"), "HH": ("hour", r"\d{2}"), "hh": ("half", r"\d{2}"),
    "a": ("noon", "am|pm"), "mm": ("minute", r"\d{2}"), "ss": ("second", r"\d{2}"),
    "SSS": ("fraction", r"\d{1,3}"), "SSSSSS": ("fraction", r"\d{1,6}"),
    "SSSSSSSSS": ("fraction", r"\d{1,9}"), "M": ("month", r"\d{1,9}"), "d": ("day", r"\d{1,9}"),
    "H": ("hour", r"\d{1,9}"), "h": ("half", r"\d{1,9}"), "m": ("minute", r"\d{1,9}"),
    "s": ("second", r"\d{1,9}"),
}  # fmt: skip
_PRINTED = {
    "yyyy": "%Y", "y": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S",
    "hh": "%I", "a": "%p", "DDD": "%j", "SSS": "%3f", "SSSSSS": "%6f", "SSSSSSSSS": "%9f",
    "yy": "%y", "M": "%-m", "d": "%-d", "H": "%-H", "m": "%-M", "s": "%-S", "h": "%-I", "D": "%-j",
    "MMM": "%b", "MMMM": "%B", "E": "%a", "EEE": "%a", "EE": "%a", "EEEE": "%A",
}  # fmt: skip


@cache
def printing_format(pattern: str) -> str:
    """The strftime form of a Spark pattern. Raises TypeFault for letters without an exact counterpart."""
    found = []
    for quoted, letters, other in _pieces(pattern):
        _check_letters(letters, _PRINTED)
        found.append(_PRINTED[letters] if letters else _literal(quoted, other).replace("%", "%%"))
    return "".join(found)


@cache
def reading_fields(pattern: str) -> tuple[str, tuple[str, ...]]:
    """A Spark pattern as a regular expression for the whole text, and what its groups are. Raises
    TypeFault for what Java would read in another way."""
    parts, names = [], []
    for quoted, letters, other in _pieces(pattern):
        _check_letters(letters, _READ)
        if letters:
            names.append(_READ[letters][0])
            parts.append(f"({_READ[letters][1]})")
        else:
            parts.append(re.escape(_literal(quoted, other)))
    if re.search(r"\\d\{1,9\}\)\(|\)\(\\d\{1,9\}", "".join(parts)):
        raise TypeFault(
            f"in the date pattern {pattern!r} a field of any width has no mark beside it", refused=True
        )
    known = set(names)
    if not known or len(known) < len(names):
        raise TypeFault(f"the date pattern {pattern!r} names no part of a date, or one twice", refused=True)
    if ("half" in known) != ("noon" in known) or {"half", "hour"} <= known:
        raise TypeFault("in a date pattern hh goes with a, and HH without", refused=True)
    if "yearday" in known and ("year" not in known or known & {"month", "day"}):
        raise TypeFault("in a date pattern DDD goes with the year alone", refused=True)
    return f"(?i)^{''.join(parts)}$", tuple(names)


def _check_letters(letters: str, known: Mapping[str, object]) -> None:
    if letters and letters not in known:
        raise TypeFault(
            f"the date pattern letters {letters} are not supported in the embedded engine", refused=True
        )


def _literal(quoted: str, other: str) -> str:
    return "'" if quoted == "''" else quoted[1:-1].replace("''", "'") if quoted else other


def _pieces(pattern: str) -> list[tuple[str, str, str]]:
    tokens = re.compile(r"('(?:[^']|'')*')|((?P<c>[A-Za-z])(?P=c)*)|([^A-Za-z'])")
    pieces, at = [], 0
    while at < len(pattern):
        found = tokens.match(pattern, at)
        if found is None:
            raise TypeFault(f"the date pattern {pattern!r} has an open quote")
        if found[4] in ("[", "]", "{", "}", "#"):
            raise TypeFault(
                f"{found[4]} in a date pattern is not supported in the embedded engine", refused=True
            )
        pieces.append((found[1] or "", found[2] or "", found[4] or ""))
        at = found.end()
    return pieces


_REFUSED = (
    (r"\(\?<?[=!]", "lookahead and lookbehind"),
    (r"\(\?>", "atomic groups"),
    (r"[*+?}]\+", "possessive quantifiers"),
    (r"\\[1-9]|\\k<", "back references"),
    (r"\\[GZXRhHvV]", "this escape"),
    (r"\(\?[a-zA-Z]*U", "the flag U"),
    (r"&&", "intersections of character classes"),
    (r"\\p\{java", "Java's character classes"),
    (r"\[\^?\[:", "a character class in a character class"),
)
_TWICE = re.compile(r"[*+?}]\*")


@cache
def rust_regex(pattern: str, named_ends: bool = False) -> str:
    """A Java pattern for Rust's engine, meaning the same. Raises TypeFault where it cannot.

    What it finds has the end of the last line in it where a $ stands before that, as it may in Java. With
    `named_ends` that end is a group of its own, `end0` at the first $, `end1` at the second."""
    bare = re.sub(r"\\\\", "  ", pattern)
    bare = re.sub(r"\\Q.*?\\E", "", bare)
    for refused, what in _REFUSED:
        if re.search(refused, bare):
            raise TypeFault(f"the pattern uses {what}, which the embedded engine lacks", refused=True)
    if re.search(r"\(\?[a-z]*i", bare) and "u" not in _flags(pattern) and not pattern.isascii():
        # In Java i alone is for ASCII; in Rust an É is an é.
        raise TypeFault("the pattern has letters beyond ASCII and the flag i, but not u", refused=True)
    if _TWICE.search(re.sub(r"\[(?:\\.|[^\]\\])*\]|\\.", "x", bare)):
        raise TypeFault(f"{pattern!r} is not a regular expression: a quantifier follows a quantifier")
    found = _in_rust(re.sub(r"\\Q(.*?)\\E", lambda m: re.escape(m[1]), pattern), named_ends)
    _check_regex(found, pattern)
    return found


def _check_regex(found: str, pattern: str) -> None:
    """Ask the engine that will run it."""
    try:
        pl.Series([""]).str.contains(found)
    except pl.exceptions.ComputeError as error:
        lines = str(error).splitlines()
        reason = next((line[7:] for line in lines if line.startswith("error: ")), lines[0])
        refused = any(word in reason for word in ("escape", "size", "backreferences"))
        raise TypeFault(f"{pattern!r} is not a regular expression here: {reason}", refused=refused) from None


def groups_of(pattern: str) -> int:
    """How many capturing groups a Java pattern has."""
    return len(re.findall(r"\((?!\?)|\(\?<[A-Za-z]", _bare(pattern)))


def groups_and_ends(pattern: str) -> str:
    """The marks of a Java pattern in their order: `(` for a capturing group, `$` for an end and `!` for an
    end inside of a capturing group."""
    bare = _bare(pattern)
    if "m" in _flags(pattern):
        bare = bare.replace("$", "")
    found = ""
    open_groups: list[bool] = []
    for mark in re.finditer(r"\((\?<[A-Za-z]|\?)?|\)|\$", bare):
        if mark[0] == ")":
            open_groups = open_groups[:-1]
        elif mark[0] == "$":
            found += "!" if any(open_groups) else "$"
        else:
            open_groups.append(mark[1] != "?")
            found += "(" if open_groups[-1] else ""
    return found


def _flags(pattern: str) -> str:
    return "".join(re.findall(r"\(\?([a-z]+)", _bare(pattern)))


def _bare(pattern: str) -> str:
    """A Java pattern with an `x` for each quoted text, escape and class. Were they left out, the `?` behind
    one that begins a group would stand for the kind of the group."""
    return re.sub(r"\\Q.*?\\E|\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern)


_LINE_ENDS = r"\n\r\x{85}\x{2028}\x{2029}"
_LAST_LINE_END = rf"(?:\r\n|[{_LINE_ENDS}])?"
LINE_ENDS = ("\n", "\r", "\r\n", "\x85", "\u2028", "\u2029")


def _in_rust(pattern: str, named_ends: bool) -> str:
    """In Java \\d, \\w, \\s know ASCII only; in Rust they know Unicode. (\\b knows it in both.) Java's dot
    takes no end of a line of any kind, and its $ stands before the last one too; Rust has to take that in."""
    out, at, depth, ends = [], 0, 0, 0
    flags = _flags(pattern)
    inner = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\x0B\\f\\r"}
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            code = pattern[at + 1]
            low = code.lower()
            if low in inner:
                negated = "^" if code != low else ""
                if depth and not negated:
                    out.append(inner[low])
                else:
                    out.append(f"[{negated}{inner[low]}]")
            else:
                out.append(char + code)
            at += 2
            continue
        if char == "[":
            out.append("\\[" if depth and not pattern.startswith("[:", at) else char)
            depth = 1
        elif char == "." and not depth and "s" not in flags:
            out.append(f"[^{_LINE_ENDS}]")
        elif char == "$" and not depth and "m" not in flags:
            out.append(f"(?:(?{f'P<end{ends}>' if named_ends else ':'}{_LAST_LINE_END})$)")
            ends += 1
        else:
            depth = 0 if char == "]" and depth and pattern[at - 1] != "[" else depth
            out.append(char)
        at += 1
    return "".join(out)


def check_replacement(text: str, groups: int) -> None:
    """Raises TypeFault for a replacement that Java refuses for a pattern with so many groups."""
    bare = re.sub(r"\\.", "", text)
    if bare.endswith("\\"):
        raise TypeFault("the replacement ends in a backslash")
    for found in re.finditer(r"\$(.?)", bare):
        if found[1] == "{":
            raise TypeFault("${...} in a replacement is not supported in the embedded engine", refused=True)
        if not found[1].isdigit():
            raise TypeFault("$ in a replacement stands before the number of a group")
        if int(found[1]) > groups:
            raise TypeFault(
                f"the pattern has {groups} group{'s' * (groups != 1)}, the replacement asks for ${found[1]}"
            )


def java_replacement(text: str, pattern: str) -> str:
    """`$1` and `\\$` of Java as Rust writes them, for a `pattern` whose ends are named: they are groups too,
    and what they took is put back."""
    marks = groups_and_ends(pattern)
    numbers = [0, *(number for number, mark in enumerate(marks, 1) if mark == "(")]
    found = re.sub(r"\\(.)", lambda m: "$$" if m[1] == "$" else m[1], text)
    found = re.sub(r"(?<!\$)\$(\d)", lambda m: f"${{{numbers[int(m[1])]}}}", found)
    return found + "".join(f"${{end{number}}}" for number in range(marks.count("$")))


def like_regex(pattern: str, escape: str, ignore_case: bool = False) -> str:
    """LIKE as an anchored regular expression."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == escape:
            if at + 1 >= len(pattern) or pattern[at + 1] not in ("%", "_", escape):
                raise TypeFault(
                    f"in the pattern '{pattern}' the escape character must stand before %, _ or itself"
                )
            out.append(re.escape(pattern[at + 1]))
            at += 1
        else:
            out.append({"%": ".*", "_": "."}.get(char) or re.escape(char))
        at += 1
    return f"(?s{'i' if ignore_case else ''})^{''.join(out)}$"
