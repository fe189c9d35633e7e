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
    return ", ".join(f"`{name}`" for name in names)


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like `name`, letter case ignored."""
    folded = {each.lower(): each for each in allowed}
    found = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """`did you mean ...?` when something is near enough, else the whole list."""
    names = list(allowed)
    near = nearest(name, names)
    listed = f"allowed: {quoted(names)}" if names else "nothing is allowed here"
    if near and len(names) > _LONG_LIST:
        return f"did you mean `{near}`?"
    return f"did you mean `{near}`? {listed}" if near else listed
