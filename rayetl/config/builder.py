"""Building the tree, with the limits that keep a hostile document small."""

from __future__ import annotations

from dataclasses import field

from rayetl.config.document import MAX_DEPTH, MAX_NODES, Entry, Mapping, Node, Scalar, Sequence
from rayetl.config.faults import FormError
from rayetl.records import dataclass


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read yet."""

    start: int
    is_mapping: bool
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    weight: int = 1
    height: int = 1


@dataclass(slots=True)
class TreeBuilder:
    """Takes the parts of a document in order. `duplicates` holds (key, first key) of repeated keys."""

    root: Node | None = None
    duplicates: list[tuple[Scalar, Scalar]] = field(default_factory=list)
    merge_faults: list[Scalar] = field(default_factory=list)
    _stack: list[_Open] = field(default_factory=list)
    _anchors: dict[str, Node | None] = field(default_factory=dict)
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def open(self, start: int, *, is_mapping: bool, anchor: str | None = None) -> None:
        if self._awaits_key():
            raise FormError("key_type", "a key must be a single text, not a list or a mapping", start)
        if len(self._stack) >= MAX_DEPTH:
            raise FormError("too_deep", f"nested deeper than the allowed {MAX_DEPTH} levels", start)
        if anchor:
            self._anchors[anchor] = None
        self._stack.append(_Open(start, is_mapping, anchor))

    def close(self, end: int) -> None:
        part = self._stack.pop()
        node: Node
        if part.is_mapping:
            node = Mapping(part.start, end, self._entries(part.children))
        else:
            node = Sequence(part.start, end, tuple(part.children))
        self._sizes[id(node)] = (part.weight, part.height)
        self.add(node, part.anchor)

    def add(self, node: Node, anchor: str | None = None) -> None:
        """A scalar, or a mapping or list that has just ended."""
        if anchor:
            self._anchors[anchor] = node
        self._attach(node, node.start)

    def alias(self, name: str, start: int) -> None:
        if name not in self._anchors:
            raise FormError("unknown_alias", f"the alias `*{name}` names no anchor `&{name}` above it", start)
        node = self._anchors[name]
        if node is None:
            raise FormError("recursive_alias", f"the alias `*{name}` stands inside of what it names", start)
        if self._awaits_key() and not isinstance(node, Scalar):
            raise FormError("key_type", "a key must be a single text, not a list or a mapping", start)
        self._attach(node, start)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].is_mapping and len(self._stack[-1].children) % 2 == 0

    def _attach(self, node: Node, start: int) -> None:
        weight, height = self._sizes.get(id(node), (1, 0))
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.children.append(node)
        parent.weight += weight
        parent.height = max(parent.height, height + 1)
        if len(self._stack) + height > MAX_DEPTH:
            raise FormError("too_deep", f"nested deeper than the allowed {MAX_DEPTH} levels", start)
        if sum(part.weight for part in self._stack) > MAX_NODES:
            raise FormError("too_large", f"more than {MAX_NODES} values, aliases counted as copies", start)

    def _entries(self, children: list[Node]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[tuple[Scalar, Node]] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            assert isinstance(key, Scalar)
            if key.text == "<<" and not key.style:
                merged.append((key, value))
            elif key.text in entries:
                self.duplicates.append((key, entries[key.text].key))
            else:
                entries[key.text] = Entry(key, value)
        for key, value in merged:
            self._merge(key, value, entries)
        return entries

    def _merge(self, key: Scalar, value: Node, entries: dict[str, Entry]) -> None:
        sources = value.items if isinstance(value, Sequence) else (value,)
        for source in sources:
            if not isinstance(source, Mapping):
                self.merge_faults.append(key)
                continue
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)
