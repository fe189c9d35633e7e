"""Whatever is in the file: a config or a `ConfigError`, and soon."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayetl.config.checked import load_text
from rayetl.config.document import plain
from rayetl.config.load import from_mapping, load_config
from rayetl.config.models import PipelineConfig
from rayetl.errors import ConfigError

from .documents import GOOD, document

BASE = plain(document(GOOD).root)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def holders(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in ((value, key), *holders(inner))]
    if isinstance(value, list):
        return [pair for key, inner in enumerate(value) for pair in ((value, key), *holders(inner))]
    return []


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["${x}", "${", "$$", "1%", "30s", "filter", "files", "[key]", "from", "type", "source"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "id", "from", "path", "rules", "x"]) | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def load_mapping(values: Any) -> None:
    try:
        from_mapping(values)
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.message for problem in problems)
    assert not any("pydantic" in problem.message.lower() for problem in problems)


@pytest.mark.parametrize(
    "junk_value", [None, 3, "x", True, [], {}, [None], {"type": None}, {"type": []}, 1.5]
)
def test_every_node_replaced(junk_value: object) -> None:
    for index in range(len(holders(BASE))):
        values = copy.deepcopy(BASE)
        holder, key = holders(values)[index]
        holder[key] = junk_value
        load_mapping(values)


def test_every_node_left_out_or_renamed() -> None:
    for index in range(len(holders(BASE))):
        values = copy.deepcopy(BASE)
        holder, key = holders(values)[index]
        removed = holder.pop(key)
        load_mapping(values)
        if isinstance(holder, dict):
            holder[f"{key}s"] = removed
            load_mapping(values)


@given(st.data())
@FUZZ
def test_nodes_replaced_by_anything(data: st.DataObject) -> None:
    values = copy.deepcopy(BASE)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(holders(values)))
        holder[key] = data.draw(junk)
    load_mapping(values)


def load_any(text: str, file: str) -> None:
    try:
        load_text(text, PipelineConfig, file=file)
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    lines = text.count("\n") + text.count("\r") + 1
    assert all(problem.line is None or 1 <= problem.line <= lines for problem in problems)


@given(st.data(), st.sampled_from(["f.yaml", "f.json"]))
@FUZZ
def test_text_with_damage(data: st.DataObject, file: str) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        insert = data.draw(st.text(alphabet="{}[]:,-?&*!|>'\"%@`#\t\n \\$ax0\x85\u2028", max_size=4))
        text = text[:at] + insert + text[at + data.draw(st.integers(0, 5)) :]
    load_any(text, file)


@given(st.text(max_size=200), st.sampled_from(["f.yaml", "f.json"]))
@FUZZ
def test_any_text(text: str, file: str) -> None:
    load_any(text, file)


@pytest.mark.parametrize(
    "body",
    [
        "".join(f"key{number}: x\n" for number in range(3000)),
        "transform:\n" + "- x\n" * 20_000,
        "k" * 200_000 + ": 1\n",
        "engine: " + "v" * 200_000 + "\n",
        "state: '" + "${a}" * 50_000 + "'\n",
        "state: '" + "${" * 50_000 + "'\n",
        "state: 3\nstate: 3\n" * 10_000,
    ],
    ids=["keys", "items", "long key", "long value", "references", "open references", "duplicates"],
)
def test_much_of_everything_is_answered_briefly(body: str) -> None:
    text = "name: a\nextract: {type: files, path: x}\nload: {type: files, path: y}\n" + body
    with pytest.raises(ConfigError) as caught:
        load_text(text, PipelineConfig)
    assert all(len(str(problem)) < 3000 for problem in caught.value.problems)


def test_control_characters_are_shown_as_escapes() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text('"a\\e[31m": 3\nname: "\\a"\n', PipelineConfig)
    assert str(caught.value).replace("\n", "").isprintable()


@given(st.binary(max_size=200))
@FUZZ
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load_config(path)
