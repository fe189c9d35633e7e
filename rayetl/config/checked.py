"""From the text of a config, or its tree, to a checked model with a place for every later complaint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from rayetl.config import document as tree
from rayetl.config.builder import TreeBuilder
from rayetl.config.document import Document, Scalar, plain
from rayetl.config.faults import FormError, visible
from rayetl.config.interpolate import Interpolation
from rayetl.config.json_reader import read_json
from rayetl.config.shape import trace
from rayetl.config.translate import translate
from rayetl.config.yaml_reader import read_yaml
from rayetl.errors import ConfigError, ConfigPath, Problem
from rayetl.records import dataclass

M = TypeVar("M", bound=BaseModel)

_LONGEST_SENTENCE = 1000
_NOT_A_MAPPING = "a config is a mapping with `name`, `extract` and `load`; this is {}"


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A checked config with the document it came from; `file` is its name as it was given."""

    config: M
    document: Document
    file: str | None

    def place(self, problem: Problem) -> Problem:
        """`problem` with the file, line and column of what its `path` and `offset` point at."""
        return self.document.place(problem)


def load_text(
    text: str, model: type[M], *, file: str | None = None, variables: Mapping[str, str] | None = None
) -> Loaded[M]:
    """A config of any model from its text; `file` decides between JSON (`.json`) and YAML."""
    body = text.removeprefix("\ufeff")
    blank = Document(body, file, Scalar(0, 0, None, ""))
    try:
        builder = read_json(body) if _is_json(file) else read_yaml(body)
    except FormError as error:
        problem = Problem(f"config.{error.code}", error.message, (), error.hint)
        raise ConfigError([_readable(blank.pin(problem, error.index))]) from None
    if builder.root is None or (isinstance(builder.root, Scalar) and builder.root.value is None):
        raise ConfigError(
            [Problem("config.empty", "the config is empty", (), "`rayetl init` writes one", file=file)]
        )
    document = replace(blank, root=builder.root)
    return check_document(document, model, _repeated(builder, document), variables or {})


def _is_json(file: str | None) -> bool:
    return file is not None and file.lower().endswith(".json")


def check_document(
    document: Document, model: type[M], problems: list[Problem], variables: Mapping[str, str]
) -> Loaded[M]:
    """Interpolate and validate a tree. `problems` found before are reported with all others.

    Raises `ConfigError` with every problem in the order of the file.
    """
    if not isinstance(document.root, tree.Mapping):
        found = "a list" if isinstance(document.root, tree.Sequence) else "a single value"
        problem = Problem("config.form", _NOT_A_MAPPING.format(found))
        raise ConfigError([document.pin(problem, document.root.start)])
    interpolation = Interpolation(document, variables)
    filled = interpolation.run()
    problems = [*problems, *map(filled.place, interpolation.problems)]
    config: M | None = None
    try:
        config = _validated(filled, model)
    except ValidationError as error:
        problems += translate(error, model, filled, interpolation.unfilled)
    if config is None or problems:
        raise ConfigError([_readable(problem) for problem in sorted(problems, key=_order)])
    return Loaded(config, filled, filled.file)


def _readable(problem: Problem) -> Problem:
    """Names and values out of a hostile file may be endless or hold control characters."""
    hint = problem.hint and visible(problem.hint[:_LONGEST_SENTENCE])
    return replace(problem, message=visible(problem.message[:_LONGEST_SENTENCE]), hint=hint)


def _order(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0


def _validated(document: Document, model: type[M]) -> M:
    """A second look gives fields that want text the text of what `${...}` made a number."""
    values = plain(document.root)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        if not _as_text(error, values, model, document):
            raise
        return model.model_validate(values)


def _as_text(error: ValidationError, values: Any, model: type[BaseModel], document: Document) -> bool:
    changed = False
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        path = trace(model, each["loc"]).path if each["type"] == "string_type" else ()
        node = document.at(path)
        if path and isinstance(node, Scalar) and node.pieces and not isinstance(node.value, str):
            changed |= _put(values, path, node.text)
    return changed


def _put(values: Any, path: ConfigPath, text: str) -> bool:
    """Write into the plain values along the keys the document itself uses."""
    holder, key = values, None
    for part in path:
        inner = holder[key] if key is not None else holder
        actual = _actual_key(inner, part)
        if actual is None:
            continue
        holder, key = inner, actual
    if key is None:
        return False
    holder[key] = text
    return True


def _actual_key(holder: Any, part: str | int) -> str | int | None:
    if isinstance(holder, list) and isinstance(part, int) and part < len(holder):
        return part
    if isinstance(holder, dict):
        return next((name for name in tree.alike(str(part)) if name in holder), None)
    return None


def _repeated(builder: TreeBuilder, document: Document) -> list[Problem]:
    problems = []
    for key, first in builder.duplicates:
        line, _ = document.line_and_column(first.start)
        message = f"the key `{key.text}` is given twice; the first is on line {line}"
        problems.append(document.pin(Problem("config.duplicate_key", message), key.start))
    for key in builder.merge_faults:
        message = "`<<` merges mappings only"
        problems.append(document.pin(Problem("config.merge", message), key.start))
    return problems
