"""Names of tables and columns as they stand in a statement, by the rules of each server."""

from __future__ import annotations

import re
from typing import ClassVar, Self

from rayetl.records import dataclass


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a server writes names: between what marks, how long, and whether letters outside of them are made
    small. `counted` is what `longest` counts: bytes or characters. Names that are `plain` hold no character
    beyond U+FFFF and do not end with a space."""

    server: str
    mark: str
    longest: int
    counted: str
    folds: bool
    plain: bool = False

    def identifier(self, name: str) -> str:
        """A name between its marks."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def too_long(self, name: str) -> bool:
        """Whether the server would refuse the name or cut it off."""
        size = len(name.encode("utf-8", "surrogatepass")) if self.counted == "bytes" else len(name)
        return size > self.longest

    def unfit(self, name: str) -> str | None:
        """What the name has that the server does not keep, for `the name has ...`."""
        if "\0" in name:
            return "a NUL character"
        if self.too_long(name):
            return f"more than {self.longest} {self.counted}, the most in {self.server}"
        if self.plain and (high := next((sign for sign in name if sign > "\uffff"), None)):
            return f"the character {high!r}, which no name in {self.server} may have"
        if self.plain and name.endswith(" "):
            return f"a space at its end, which no name in {self.server} may have"
        return None

    def parts(self, text: str) -> list[str]:
        """The exact names in `a.b`, as SQL reads them. Raises `ValueError` with a sentence for the writer of
        a config."""
        mark, found, at = self.mark, [], 0
        part = re.compile(rf"{mark}((?:[^{mark}]|{mark}{mark})+){mark}|([^\s{mark}.]+)")
        while match := part.match(text, at):
            quoted, plain = match.groups()
            plain = plain.lower() if plain and self.folds else plain
            found.append(quoted.replace(mark * 2, mark) if quoted is not None else plain)
            at = match.end()
            if at == len(text) or text[at] != ".":
                break
            at += 1
        if at != len(text) or not 1 <= len(found) <= 2:
            raise ValueError(
                f"{text!r} is not the name of a table; it is `table` or `schema.table`, and parts with other "
                f"characters than letters, digits and `_` stand between {mark} marks: "
                f"sales.{mark}Daily Totals{mark}"
            )
        for each in found:
            if unfit := self.unfit(each):
                raise ValueError(f"the name {each!r} has {unfit}")
        return found


@dataclass(frozen=True, slots=True)
class QualifiedName:
    """A table, by its exact name and that of its schema; without one, the connection's own place is meant."""

    spelling: ClassVar[Spelling]

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `daily` or `sales.daily`. Raises `ValueError` with a sentence for the writer of a config."""
        parts = cls.spelling.parts(text)
        return cls(parts[0] if len(parts) == 2 else None, parts[-1])

    @property
    def sql(self) -> str:
        """The name as it stands in a statement."""
        parts = (part for part in (self.schema, self.name) if part is not None)
        return ".".join(self.spelling.identifier(part) for part in parts)

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"
