"""The dialect extends sqlglot's classes, which only its interpreted form allows."""

from __future__ import annotations

import importlib

import pytest
import sqlglot.parser

from rayetl.errors import RayetlError
from rayetl.sql import dialect
from rayetl.sql.dialect import assert_extensible


@pytest.mark.parametrize("name", ["parser.cpython-311-x86_64-linux-gnu.so", "parser.cp311-win_amd64.pyd"])
def test_the_compiled_form_is_refused_with_what_to_type(name: str) -> None:
    with pytest.raises(RayetlError, match="sqlglotc") as caught:
        assert_extensible(f"site-packages/sqlglot/{name}")
    assert "pip uninstall sqlglotc" in str(caught.value.hint)


def test_the_interpreted_form_is_taken() -> None:
    assert_extensible("site-packages/sqlglot/parser.py")


def test_it_is_looked_at_before_the_first_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlglot.parser, "__file__", "parser.cpython-311-x86_64-linux-gnu.so")
    with pytest.raises(RayetlError, match="sqlglotc"):
        importlib.reload(dialect)
