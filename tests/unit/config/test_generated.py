"""The committed reference page and JSON Schema, and that the schema judges as the loader does."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from rayetl.config import json_schema
from rayetl.config.document import plain
from rayetl.config.faults import FormError
from rayetl.config.json_reader import read_json
from rayetl.config.load import load_config
from rayetl.config.models import PipelineConfig
from rayetl.config.reference import _examples, _models, main, page, stale
from rayetl.config.yaml_reader import read_yaml
from rayetl.errors import ConfigError

from .documents import GOOD, document
from .test_corpus import CASES, CORPUS, variables

ROOT = Path(__file__).parents[3]
STARTER = ROOT / "rayetl" / "cli" / "starter.yaml"
CONFIGS = sorted([*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "configs").rglob("*.json"), STARTER])
FORM = {
    f"config.{code}"
    for code in [
        "unknown_field",
        "missing",
        "wrong_kind",
        "unknown_type",
        "missing_type",
        "not_allowed",
    ]
}
JUDGED_BY_FORMAT = ("source_option_of_other_format",)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_nothing_is_stale() -> None:
    assert stale(ROOT / "docs" / "reference") == [], "run: python -m rayetl.config.reference --write"


def test_check_fails_on_a_stale_page(tmp_path: Path) -> None:
    arguments = ["--directory", str(tmp_path)]
    assert main(["--write", *arguments]) == 0
    assert main(["--check", *arguments]) == 0
    (tmp_path / "config.md").write_text(page() + "more")
    assert main(["--check", *arguments]) == 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_fit_the_schema(path: Path, validator: Draft202012Validator) -> None:
    values = plain(document(path.read_text("utf-8"), json=path.suffix == ".json").root)
    assert [error.message for error in validator.iter_errors(values)] == []


def test_both_spellings_fit_the_schema(validator: Draft202012Validator) -> None:
    good = plain(document(GOOD).root)
    assert validator.is_valid(good)
    assert validator.is_valid({**good, "maxRejectShare": 0.5, "timeZone": "UTC"}) is False, (
        "max_reject_share twice"
    )
    good.pop("max_reject_share")
    assert validator.is_valid({**good, "maxRejectShare": "${SHARE}", "timeZone": "UTC"})


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_schema_refuses_faults_of_form(
    case: Path, validator: Draft202012Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CORPUS)
    try:
        text = case.read_bytes().decode("utf-8")
        root = (read_json if case.suffix == ".json" else read_yaml)(text).root
        load_config(case.name, variables=variables(case))
    except (FormError, UnicodeDecodeError):
        return
    except ConfigError as error:
        codes = {problem.code for problem in error.problems}
        interpolated = any("${" in line for line in text.splitlines())
        if (
            root is not None
            and codes & FORM
            and not interpolated
            and not case.name[4:].startswith(JUDGED_BY_FORMAT)
        ):
            assert not validator.is_valid(plain(root))


def test_every_field_is_described_with_an_example() -> None:
    bare = [
        f"{model.__name__}.{name}"
        for model in _models(PipelineConfig)
        for name, info in model.model_fields.items()
        if name != "type" and not info.description
    ]
    assert bare == []
    without = [
        f"{model.__name__}.{name}"
        for model in _models(PipelineConfig)
        for name, info in model.model_fields.items()
        if name != "type" and not _examples(info)
    ]
    assert without == []
