"""The way in: files, mappings, and the errors of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayetl.config.document import plain
from rayetl.config.load import from_mapping, load_config
from rayetl.errors import ConfigError, Problem

from .documents import GOOD, document


def test_a_good_config(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    config = load_config(path).config
    assert config.name == "delays"
    assert list(config.extract) == ["flights", "airlines"]
    assert [step.type for step in config.transform] == ["filter", "join", "aggregate", "sort", "limit"]
    assert config.load[0].path == "out/2013"
    assert load_config(path, variables={"year": "2014"}).config.load[0].path == "out/2014"
    assert config.max_reject_share == 0.01


def test_json_and_mapping_give_the_same(tmp_path: Path) -> None:
    import json

    values = plain(document(GOOD).root)
    assert isinstance(values, dict)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(values))
    yaml = tmp_path / "c.yml"
    yaml.write_text("\ufeff" + GOOD, "utf-8")
    assert load_config(path).config == from_mapping(values).config == load_config(yaml).config


def test_a_single_source_and_load() -> None:
    one = {"type": "files", "path": "a.csv"}
    config = from_mapping({"name": "x", "extract": one, "load": one}).config
    assert list(config.extract) == ["source"]
    assert len(config.load) == 1


def test_places_of_a_single_source_and_load(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nextract:\n  type: files\n  path: a.csv\nload:\n  type: files\n  path: out\n")
    loaded = load_config(path)
    placed = loaded.place(Problem("x", "x", ("extract", "source", "path")))
    assert (placed.file, placed.line, placed.column) == (str(path), 4, 9)
    assert loaded.place(Problem("x", "x", ("load", 0, "path"))).line == 7


def test_mappings_have_paths_and_no_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"name": "x", "extract": {"a": {"type": "files"}}, "load": []})
    assert {problem.line for problem in caught.value.problems} == {None}
    assert str(caught.value).startswith("extract.a: the files source has no `path`")


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"x"])
def test_mappings_of_other_things(value: object) -> None:
    with pytest.raises(ConfigError, match="plain values"):
        from_mapping({"name": value})


def test_a_mapping_that_holds_itself() -> None:
    mapping: dict[str, object] = {}
    mapping["a"] = mapping
    with pytest.raises(ConfigError):
        from_mapping(mapping)


def test_all_problems_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("load: 3\nname: 3\nname: x\nextract: 3\ntransform: [3]\nextra: ${nope}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4, 5, 6, 6]
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"does not exist \(did you mean .*flights.yaml"):
        load_config(tmp_path / "flihgts.yaml")
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "no" / "such.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("a\0b")
    (tmp_path / "big.yaml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger"):
        load_config(tmp_path / "big.yaml")


def test_boolean_words_where_a_truth_value_is_wanted() -> None:
    source = {"type": "files", "path": "a.csv", "options": {"header": "no"}}
    config = from_mapping({"name": "no", "extract": source, "load": {"type": "files", "path": "no"}}).config
    assert config.name == "no"
    assert config.extract["source"].options.header is False
