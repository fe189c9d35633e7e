"""The examples of docs/quality.md are read by the models, and every kind has one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rayetl.contracts import ContractConfig
from rayetl.quality import ValidateStep
from rayetl.quality.avro_reader import LOGICAL, PRIMITIVES
from rayetl.quality.rules import Rule

PAGE = (Path(__file__).parents[3] / "docs" / "quality.md").read_text(encoding="utf-8")
BLOCKS: list[Any] = [
    YAML(typ="safe").load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
]


def test_every_kind_of_rule_has_an_example_that_is_read() -> None:
    rules = [rule for block in BLOCKS if isinstance(block, list) for rule in block]
    step = ValidateStep.model_validate({"type": "validate", "rules": rules})
    assert {rule.kind for rule in step.rules} == {*Rule.ROW_KINDS, *Rule.TABLE_KINDS}


def test_the_contracts_are_read() -> None:
    (block,) = (block for block in BLOCKS if "extract" in block)
    ContractConfig.model_validate(block["extract"]["flights"]["contract"])
    ContractConfig.model_validate(block["load"][0]["contract"])


def test_every_field_of_a_contract_and_every_type_is_on_the_page() -> None:
    fields = {(field.alias or name) for name, field in ContractConfig.model_fields.items()}
    assert all(f"`{field}`" in PAGE for field in fields)
    names = {*PRIMITIVES, *(logical for _, logical in LOGICAL)} - {"local-timestamp-micros"}
    assert not {name for name in names if name not in PAGE}
