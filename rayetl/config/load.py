"""A config file or mapping to a checked `PipelineConfig`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rayetl.config import document as tree
from rayetl.config.checked import Loaded, check_document, load_text
from rayetl.config.document import Document
from rayetl.config.faults import FormError, suggestion
from rayetl.config.json_reader import read_json
from rayetl.config.models import PipelineConfig
from rayetl.config.reading import read_text
from rayetl.errors import ConfigError, Problem

LoadedConfig = Loaded[PipelineConfig]


def load_config(path: str | Path, *, variables: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read, interpolate and check the form of a YAML or JSON config.

    `variables` come before the config's own `vars` and the environment. Raises `ConfigError` with all
    problems in the order of the file.
    """
    name = str(path)
    return _with_known_ids(load_text(read_text(Path(path)), PipelineConfig, file=name, variables=variables))


def from_mapping(mapping: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> LoadedConfig:
    """The same for a config that is a mapping of plain values already; there are no lines then."""
    try:
        text = json.dumps(mapping, allow_nan=False)
        root = read_json(text).root
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            [Problem("config.form", f"the config is not made of plain values: {error}")]
        ) from None
    except FormError as error:
        raise ConfigError([Problem(f"config.{error.code}", error.message, (), error.hint)]) from None
    assert root is not None
    document = Document("", None, _unplaced(root))
    return _with_known_ids(check_document(document, PipelineConfig, [], variables or {}))


def _with_known_ids(loaded: LoadedConfig) -> LoadedConfig:
    """Refuses tests that give rows to what is no source."""
    sources = loaded.config.extract
    problems = [
        Problem(
            "config.unknown_id",
            f"there is no source `{name}` to give rows to",
            ("tests", index, "given", name),
            suggestion(name, sources),
        )
        for index, test in enumerate(loaded.config.tests)
        for name in test.given
        if name not in sources
    ]
    if problems:
        raise ConfigError(
            [loaded.document.pin(each, loaded.document.key_index(each.path)) for each in problems]
        )
    return loaded


def _unplaced(node: tree.Node) -> tree.Node:
    """Without positions: the text they would point into was made up."""
    if isinstance(node, tree.Mapping):
        entries = {
            name: tree.Entry(replace(entry.key, start=-1, end=-1), _unplaced(entry.value))
            for name, entry in node.entries.items()
        }
        return tree.Mapping(-1, -1, entries)
    if isinstance(node, tree.Sequence):
        return tree.Sequence(-1, -1, tuple(_unplaced(item) for item in node.items))
    return replace(node, start=-1, end=-1)
