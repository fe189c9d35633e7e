"""The reference page of every config field, and the committed JSON Schema: both made from the models.

python -m rayetl.config.reference --write     writes docs/reference/
python -m rayetl.config.reference --check     exit code 1 if what is there is stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rayetl.config.models import PipelineConfig
from rayetl.config.schema import json_schema
from rayetl.config.shape import Shape, choices, describe, noun_of, shape_of, spellings, type_tags
from rayetl.model import format_duration

PAGE = "config.md"
SCHEMA = "rayetl.schema.json"

_INTRODUCTION = """# Config reference

Made from the models by `python -m rayetl.config.reference --write`; do not edit.

A config is one YAML 1.2 or JSON document. Fields may be written in `snake_case` or `camelCase`. Unknown
fields, repeated keys, tags and second documents are refused. Limits: 1 MiB of text, 64 levels, 100,000
values with every alias counted as a copy.

**Durations** are numbers with a unit: `200ms`, `30s`, `5 minutes`, `1h 30m` (us, ms, s, m, h, d).
**Sizes** are bytes or numbers with a unit: `512`, `10MB` (powers of 1000), `64MiB` (powers of 1024).

**Variables**: `${name}` and `${name:-default}` stand for a value in any text of the config. A name is looked
up in what `--set name=value` gave, then in `vars`, then in the environment. `$$` is one `$`. A variable may
use those declared before it. An unquoted `${name}` becomes a number, `true`, `false` or null where the
field takes one. Names that look like secrets (`PASSWORD`, `TOKEN`, `SECRET`, `API_KEY`, ...) are refused:
secrets are named with `credential:`.

**The order of fields is free.** Sources are read where a step or load names them; the first step reads the
first source, each further step the one before it, and a load the last step, unless `from` says otherwise.
"""


def page() -> str:
    """The reference page as Markdown."""
    parts = [_INTRODUCTION]
    for model in _models(PipelineConfig):
        parts.append(f"## {_heading(model)}\n")
        parts.append(_documentation(model))
        parts += [_field(model, name, info) for name, info in model.model_fields.items()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def schema_text() -> str:
    """The JSON Schema as it is committed."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def stale(directory: Path) -> list[str]:
    """The generated files under `directory` that do not say what the models say."""
    return [
        name
        for name, text in _files().items()
        if not (directory / name).is_file() or (directory / name).read_text("utf-8") != text
    ]


def write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in _files().items():
        (directory / name).write_text(text, "utf-8")


def _files() -> dict[str, str]:
    return {PAGE: page(), SCHEMA: schema_text()}


def _models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Every model that a config can hold, parents first, in the order of their fields."""
    seen: dict[type[BaseModel], None] = {root: None}
    for model in iter(_Growing(seen)):
        for info in model.model_fields.values():
            for inner in _inside(info.annotation):
                seen.setdefault(inner)
    return list(seen)


class _Growing:
    """Iterates over a dict that grows meanwhile."""

    def __init__(self, seen: dict[type[BaseModel], None]) -> None:
        self.seen = seen

    def __iter__(self) -> Iterator[type[BaseModel]]:
        index = 0
        while index < len(self.seen):
            yield list(self.seen)[index]
            index += 1


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    bare = Shape(annotation).bare()
    model = bare.model()
    if model:
        yield model
    for argument in get_args(bare.type):
        if not isinstance(argument, str):
            yield from _inside(argument)


def _heading(model: type[BaseModel]) -> str:
    tags = type_tags(model)
    if tags and (noun := noun_of(model)):
        return f"{noun} `{tags[0]}`"
    return "pipeline" if model is PipelineConfig else model.__name__


def _documentation(model: type[BaseModel]) -> str:
    lines = (model.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines) + "\n"


def _field(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    shown = spellings(name, info)[0]
    lines = [f"### `{shown}`\n", (info.description or _fallback(model, shown)) + "\n"]
    lines.append(f"- takes: {_takes(shape_of(info))}")
    if info.is_required():
        lines.append("- required")
    else:
        lines.append(f"- default: `{_shown(info.get_default(call_default_factory=True))}`")
    lines += [f"- example: `{_shown(example)}`" for example in _examples(info)]
    return "\n".join(lines)


def _examples(info: FieldInfo) -> list[Any]:
    """A field of few values needs no example of its own: the first that is not its default serves."""
    if info.examples:
        return list(info.examples)
    shape = shape_of(info).bare()
    listed = [True, False] if shape.type is bool else choices(shape)
    return [value for value in listed if value != info.default][:1]


def _fallback(model: type[BaseModel], name: str) -> str:
    tags = type_tags(model)
    return f"Always `{tags[0]}`." if name == "type" and tags else ""


def _takes(shape: Shape) -> str:
    """The type with links to the models it holds."""
    models = list(dict.fromkeys(_inside(Shape(shape.type).type)))
    if not models:
        return describe(shape)
    links = ", ".join(f"[{_heading(model)}](#{_anchor(model)})" for model in models)
    return ("one of " if len(models) > 1 else "") + links


def _anchor(model: type[BaseModel]) -> str:
    return _heading(model).lower().replace("`", "").replace(" ", "-")


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, BaseModel):
        return _shown(value.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rayetl.config.reference", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files")
    action.add_argument("--check", action="store_true", help="fail if they are stale")
    parser.add_argument("--directory", type=Path, default=Path("docs/reference"))
    chosen = parser.parse_args(arguments)
    if chosen.write:
        write(chosen.directory)
        return 0
    old = stale(chosen.directory)
    for name in old:
        sys.stderr.write(
            f"{chosen.directory / name} is stale: run python -m rayetl.config.reference --write\n"
        )
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
