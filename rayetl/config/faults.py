"""How readers report: a fault of form ends the reading, a fault of content is collected."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONG_LIST = 16


class FormError(Exception):
    """The text cannot be read as a document. `index` is the character where it went wrong."""

    def __init__(self, code: str, message: str, index: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.index = index
        self.hint = hint


def quoted(names: Iterable[object]) -> str:
    """`a`, `b` and `c` as they are shown in messages."""
    return ", ".join(f"`{visible(str(name))}`" for name in names)


def visible(text: str) -> str:
    """A text with line breaks and the like as escapes."""
    return (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    )


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like `name`, letter case ignored."""
    folded = {each.lower(): each for each in allowed}
    found = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


_OTHER_WORDS = {
    "groupby": "aggregate",
    "group_by": "aggregate",
    "group": "aggregate",
    "agg": "aggregate",
    "where": "filter",
    "project": "select",
    "map": "select",
    "rename": "select",
    "drop": "select",
    "cast": "select",
    "with_column": "select",
    "distinct": "deduplicate",
    "dedup": "deduplicate",
    "dedupe": "deduplicate",
    "explode": "flatten",
    "unnest": "flatten",
    "orderby": "sort",
    "order_by": "sort",
    "concat": "union",
    "append": "union",
    "fillna": "fill",
    "melt": "unpivot",
    "stack": "unpivot",
    "query": "sql",
    "head": "limit",
    "expect": "validate",
    "check": "validate",
}
"""What other systems call our steps."""


def other_word(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed word for what is called `name` elsewhere."""
    word = _OTHER_WORDS.get(name.lower())
    return word if word in set(allowed) else None


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """`did you mean ...?` when something is near enough, else the whole list."""
    names = list(allowed)
    near = other_word(name, names) or nearest(name, names)
    listed = f"allowed: {quoted(names)}" if names else "nothing is allowed here"
    if near and len(names) > _LONG_LIST:
        return f"did you mean `{near}`?"
    return f"did you mean `{near}`? {listed}" if near else listed
