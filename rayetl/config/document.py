"""A config file as a tree whose every key and value knows its place in the text.

Both readers (`yaml_reader`, `json_reader`) build it; nothing else of rayetl sees YAML or JSON.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field, replace
from functools import cached_property

from pydantic.alias_generators import to_camel, to_snake

from rayetl.config.offsets import Piece, source_index
from rayetl.errors import ConfigPath, Problem
from rayetl.records import dataclass

ONLY_SOURCE = "source"
"""The id of a source that is given without one."""

MAX_BYTES = 1 << 20
"""Longest config, in bytes. A hand-written one is a few kilobytes."""

MAX_DEPTH = 64
"""How deep mappings and lists may be nested, aliases followed."""

MAX_NODES = 100_000
"""How many keys and values a document may have, each alias counted as a copy of what it names."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")

Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value. `start` and `end` are character indexes in the text; -1 where there is no text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Scalar(Node):
    """A single value. `text` is the value as text, before `true` or `12` are understood. `style` is the
    quote or block mark it was written with, empty for none. `pieces` tell how an interpolated text was put
    together from `written`; both are empty when it stands as in the file."""

    value: str | int | float | bool | None
    text: str
    style: str = ""
    pieces: tuple[Piece, ...] = ()
    written: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A key of a mapping with its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Mapping(Node):
    entries: dict[str, Entry] = field(default_factory=dict)

    def find(self, name: str) -> Entry | None:
        """The entry of a key, whichever of its spellings the file uses."""
        return next((self.entries[each] for each in alike(name) if each in self.entries), None)


@dataclass(frozen=True)
class Document:
    """A whole config: its text, the file's name for messages, and the tree."""

    text: str
    file: str | None
    root: Node

    def with_root(self, root: Node) -> Document:
        return replace(self, root=root)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_BREAK.finditer(self.text))]

    def line_and_column(self, index: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character of the text."""
        line = bisect_right(self._line_starts, max(index, 0))
        return line, max(index, 0) - self._line_starts[line - 1] + 1

    def nodes(self, path: ConfigPath) -> Iterator[Entry | Node]:
        """What lies on the way along `path`, as far as the document goes along with it."""
        node: Node = self.root
        yield node
        for depth, part in enumerate(path):
            inner = _child(node, part)
            if inner is None:
                if part == 0 or (depth == 1 and path[0] == "extract"):
                    continue  # one load or source stands where a list or map of them may
                return
            yield inner
            node = inner.value if isinstance(inner, Entry) else inner

    def at(self, path: ConfigPath) -> Node:
        """The value at `path`, or the nearest one around it."""
        last = list(self.nodes(path))[-1]
        return last.value if isinstance(last, Entry) else last

    def key_index(self, path: ConfigPath) -> int:
        """Where the value at `path` is announced: its key, or itself in a list and at the top."""
        last = list(self.nodes(path))[-1]
        return last.key.start if isinstance(last, Entry) else last.start

    def place(self, problem: Problem) -> Problem:
        """`problem` with file, line and column of the value it names, exact inside texts."""
        if problem.line is not None:
            return problem
        return self.pin(problem, self._index(problem))

    def pin(self, problem: Problem, index: int) -> Problem:
        """`problem` at a character of the text."""
        if index < 0:
            return replace(problem, file=problem.file or self.file)
        line, column = self.line_and_column(index)
        return replace(problem, file=self.file, line=line, column=column)

    def _index(self, problem: Problem) -> int:
        node = self.at(problem.path)
        if isinstance(node, Scalar):
            if problem.offset is not None:
                return source_index(self.text, node, problem.offset)
            if node.start == node.end and not node.style:
                return self.key_index(problem.path)
        return node.start


def alike(name: str) -> tuple[str, ...]:
    """The spellings of a field that a document may use for `name`."""
    bare = name.rstrip("_")
    return name, bare, to_camel(bare), to_snake(bare)


def _child(node: Node, part: str | int) -> Entry | Node | None:
    if isinstance(node, Mapping):
        return node.find(str(part))
    if isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def plain(node: Node) -> Plain:
    """The tree as ordinary dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {name: plain(entry.value) for name, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value
