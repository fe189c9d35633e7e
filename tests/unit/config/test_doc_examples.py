"""The examples of the README and of docs/ are read by the models: a field that is gone or renamed fails here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rayetl import Pipeline
from rayetl.config.models import PipelineConfig
from rayetl.errors import ConfigError

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = {"type": "files", "path": "data"}
CATALOG = '{type: sql, uri: "sqlite:///c.db", warehouse: w}'


def alternatives(block: str) -> Iterator[str]:
    """The parts of a block that shows several ways to write the same keys."""
    lines: list[str] = []
    keys: set[str] = set()
    for line in block.splitlines():
        key = line.partition(":")[0] if line[:1].isalpha() else ""
        if key in keys:
            yield "\n".join(lines)
            lines, keys = [], set()
        keys |= {key} - {""}
        lines.append(line)
    yield "\n".join(lines)


def whole(part: Any) -> dict[str, Any]:
    """A config of which `part` is part."""
    if isinstance(part, list):
        steps = part if "type" in part[0] else [{"type": "validate", "rules": part}]
        return {"name": "example", "extract": FILES, "transform": steps, "load": FILES}
    known = {field.alias or name for name, field in PipelineConfig.model_fields.items()}
    if not part.keys() <= known:
        part = {"load": {"type": "iceberg", "table": "shop.daily", **part}}
    # What has both ends is meant to be run as it stands.
    name = {} if {"extract", "load"} <= part.keys() else {"name": "example"}
    return {**name, "extract": FILES, "load": FILES} | part


EXAMPLES = [
    pytest.param(part, id=f"{page.name}:{text[: found.start()].count(chr(10)) + 2}")
    for page in PAGES
    for text in [page.read_text("utf-8")]
    for found in re.finditer(r"```yaml\n(.*?)```", text, re.DOTALL)
    for part in alternatives(found[1].replace("catalog: ...", f"catalog: {CATALOG}"))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_read(example: str) -> None:
    Pipeline.from_dict(whole(YAML(typ="safe").load(example)))


def test_an_example_with_a_field_that_is_none_would_be_seen() -> None:
    assert len(EXAMPLES) > 40
    with pytest.raises(ConfigError, match="did you mean `mode`"):
        Pipeline.from_dict(whole({"load": {**FILES, "mod": "append"}}))
