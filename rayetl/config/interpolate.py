"""`${NAME}` and `${NAME:-default}` in the values of a config.

A name is looked up in what `--set` gave, then in the config's `vars`, then in the environment; `$$` is
one `$`. Names that look like secrets are refused: a secret in a config's text would end up in plans,
reports and logs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping as Names
from dataclasses import field, replace

from rayetl.config.document import MAX_BYTES, Document, Entry, Mapping, Node, Scalar, Sequence
from rayetl.config.faults import nearest, quoted
from rayetl.config.offsets import Piece, source_index
from rayetl.config.resolve import resolve
from rayetl.errors import Problem
from rayetl.records import dataclass

_MOST_PROBLEMS = 100
_MOST = {"too_large": 1}
_REFERENCE = re.compile(r"\$\$|\$\{(?P<body>[^{}]*)(?P<close>\}?)")
_BODY = re.compile(r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*(?P<default>:-(?P<text>.*))?", re.DOTALL)
_SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "tokens",
    "apikey",
    "credentials",
)
_KEY_WORDS = frozenset(("key", "keys"))
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def names_secret(name: str) -> bool:
    """Whether a name has a word in it that says secret, be it grown together with another as in `PGPASSWORD`.
    `PWD` does beside others: alone it is the working directory."""
    words = [word.lower() for word in _WORD.findall(name)]
    return any(word.endswith(_SECRET_WORDS) for word in words) or ("pwd" in words and len(words) > 1)


@dataclass(slots=True)
class Interpolation:
    """One pass over a document. `given` is what `--set` gave, `used` gathers the names asked for,
    `unfilled` the values in which a reference still stands."""

    document: Document
    given: Names[str, str]
    environment: Names[str, str] = field(default_factory=lambda: os.environ)
    variables: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    unfilled: set[Node] = field(default_factory=set)
    _made: dict[int, Node] = field(default_factory=dict)
    _written: int = 0
    _faults: int = 0

    def run(self) -> Document:
        """The document with every reference replaced; what could not be is in `problems`."""
        root = self.document.root
        if not isinstance(root, Mapping):
            return self.document
        declared = root.entries.get("vars")
        entries = dict(root.entries)
        if declared is not None:
            entries["vars"] = Entry(declared.key, self._declare(declared.value))
        self.variables.update(self.given)
        for name, entry in entries.items():
            if name != "vars":
                entries[name] = Entry(entry.key, self._node(entry.value))
        self._unused()
        return self.document.with_root(replace(root, entries=entries))

    def _declare(self, node: Node) -> Node:
        """The variables in the order they are written: each may use those before it."""
        if not isinstance(node, Mapping):
            return node
        entries: dict[str, Entry] = {}
        for name, entry in node.entries.items():
            value = self._node(entry.value)
            entries[name] = Entry(entry.key, value)
            if isinstance(value, Scalar):
                self.variables[name] = self.given.get(name, value.text)
        return replace(node, entries=entries)

    def _unused(self) -> None:
        root = self.document.root
        declared = root.find("vars") if isinstance(root, Mapping) else None
        known = list(declared.value.entries) if declared and isinstance(declared.value, Mapping) else []
        for name in self.given.keys() - self.used - set(known):
            near = nearest(name, known)
            hint = f"did you mean `{near}`?" if near else f"declared: {quoted(known) or 'none'}"
            message = f"nothing in the config uses the variable `{name}` that was set"
            self.problems.append(Problem("config.unused_variable", message, ("vars",), hint))

    def _node(self, node: Node) -> Node:
        known = self._made.get(id(node))
        if known is None:
            known = self._made[id(node)] = self._fresh(node)
        return known

    def _fresh(self, node: Node) -> Node:
        if isinstance(node, Mapping):
            entries = {
                name: Entry(entry.key, self._node(entry.value)) for name, entry in node.entries.items()
            }
            return replace(node, entries=entries)
        if isinstance(node, Sequence):
            return replace(node, items=tuple(self._node(item) for item in node.items))
        assert isinstance(node, Scalar)
        return self._scalar(node) if isinstance(node.value, str) and "$" in node.value else node

    def _scalar(self, scalar: Scalar) -> Scalar:
        pieces: list[Piece] = []
        parts: list[str] = []
        last, faults = 0, self._faults
        for match in _REFERENCE.finditer(scalar.text):
            replacement = self._replacement(match, scalar)
            pieces += (Piece(last, match.start() - last, True), Piece(match.start(), len(replacement), False))
            parts += (scalar.text[last : match.start()], replacement)
            last = match.end()
        if not parts:
            return scalar
        pieces.append(Piece(last, len(scalar.text) - last, True))
        text = "".join((*parts, scalar.text[last:]))
        value = resolve(text) if text and not scalar.style else text
        filled = replace(scalar, text=text, value=value, pieces=tuple(pieces), written=scalar.text)
        if self._faults > faults:
            self.unfilled.add(filled)
        return filled

    def _replacement(self, match: re.Match[str], scalar: Scalar) -> str:
        if match.group() == "$$":
            return "$"
        body = _BODY.fullmatch(match["body"])
        if not match["close"] or body is None:
            hint = "write ${NAME} or ${NAME:-default}; for the characters themselves write $${"
            message = f"`{match.group()[:60]}` is not a reference to a variable"
            return self._fault("reference", message, hint, match, scalar)
        name = body["name"]
        self.used.add(name)
        if self._is_secret(name):
            message = f"`${{{name}}}` looks like a secret, and secrets do not belong in a config"
            return self._fault("secret", message, "use `credential:` to name it instead", match, scalar)
        found = self.variables.get(name, self.given.get(name, self.environment.get(name)))
        if found is None or (found == "" and body["default"]):
            found = body["text"] if body["default"] else found
        if found is None:
            return self._fault("undefined_variable", *self._undefined(name), match, scalar)
        return self._bounded(found, match, scalar)

    def _bounded(self, found: str, match: re.Match[str], scalar: Scalar) -> str:
        self._written += len(found)
        if self._written <= MAX_BYTES:
            return found
        message = f"the values put in for variables are longer than {MAX_BYTES} characters in all"
        return self._fault("too_large", message, None, match, scalar)

    def _undefined(self, name: str) -> tuple[str, str]:
        known = [*self.variables, *self.environment] if len(self.problems) < _MOST_PROBLEMS else []
        near = nearest(name, known)
        hint = f"did you mean `{near}`? " if near else ""
        message = f"the variable `{name}` is neither set, nor in `vars`, nor in the environment"
        return message, f"{hint}pass `--set {name}=...`, or give a default: ${{{name}:-...}}"

    def _is_secret(self, name: str) -> bool:
        if names_secret(name):
            return True
        words = {word.lower() for word in _WORD.findall(name)}
        return bool(words & _KEY_WORDS) and name not in self.variables and name not in self.given

    def _fault(self, code: str, message: str, hint: str | None, match: re.Match[str], scalar: Scalar) -> str:
        self._faults += 1
        if sum(problem.code.endswith(code) for problem in self.problems) < _MOST.get(code, _MOST_PROBLEMS):
            index = source_index(self.document.text, scalar, match.start())
            self.problems.append(self.document.pin(Problem(f"config.{code}", message, (), hint), index))
        return match.group()
