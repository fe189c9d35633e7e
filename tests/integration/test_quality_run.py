"""Contracts and rules in whole runs: what is loaded, what is set aside and why, what stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as ds
import pytest

from rayetl.errors import ConfigError, QualityAbort
from rayetl.pipeline import Pipeline

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "int"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}},
    {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}]},
]  # fmt: skip
LINES = "id,kind,price\n1,a,1.50\n2,c,2.00\n,b,\n4,zz,oops\n5,b,\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text(LINES)
    Path("row.avsc").write_text(json.dumps({"type": "record", "name": "Row", "fields": FIELDS}))
    return tmp_path


def config(contract: Any, path: str = "in.csv", **source: Any) -> dict[str, Any]:
    options = {"options": {"header": True}} if path.endswith(".csv") else {}
    return {
        "name": "shop",
        "extract": {"rows": {"type": "files", "path": path, "contract": contract, **options, **source}},
        "load": [{"id": "out", "type": "files", "path": "out", "format": "parquet", "mode": "append"}],
    }


def loaded(path: str = "out") -> list[dict[str, Any]]:
    return sorted(ds.dataset(path, format="parquet").to_table().to_pylist(), key=lambda row: row["id"])


def reasons(pipeline: Pipeline) -> dict[int, tuple[bytes, set[tuple[str, str | None]]]]:
    letters = pipeline.dead_letters.read().collect().to_dicts()
    return {
        letter["row"]: (letter["record"], {(each["kind"], each["field"]) for each in letter["reasons"]})
        for letter in letters
    }


def parquet(**columns: Any) -> None:
    pl.DataFrame(columns).write_parquet("in.parquet")


def test_quarantine_keeps_source_bytes_and_all_reasons(here: Path) -> None:
    pipeline = Pipeline.from_dict(config({"schema": "row.avsc", "on_mismatch": "quarantine"}))
    report = pipeline.run()
    assert [row["id"] for row in loaded()] == [1, 5]
    of_source = pipeline.dead_letters.read(step="rows").collect()
    assert set(of_source["step"]) == {"rows", "rows.contract"}
    assert report.balanced
    assert reasons(pipeline) == {
        1: (b"2,c,2.00", {("enum", "kind")}),
        2: (b",b,", {("not_null", "id")}),
        3: (b"4,zz,oops", {("malformed", None)}),
    }
    counts = {(check.kind, check.field): check.failed_rows for check in report.checks}
    assert counts == {("not_null", "id"): 1, ("not_null", "kind"): 0, ("enum", "kind"): 1}


def test_several_reasons_of_one_row(here: Path) -> None:
    Path("in.csv").write_text("id,kind,price\n,x,1\n7,a,1\n")
    pipeline = Pipeline.from_dict(config({"schema": "row.avsc", "on_mismatch": "quarantine"}))
    pipeline.run()
    assert reasons(pipeline) == {0: (b",x,1", {("not_null", "id"), ("enum", "kind")})}


def test_abort_is_the_default_and_leaves_nothing_visible(here: Path) -> None:
    both = config("row.avsc")
    both["load"].append({"id": "two", "type": "files", "path": "two", "format": "csv", "mode": "overwrite"})
    with pytest.raises(
        QualityAbort, match=r"Row on kind failed for 1 row: .* \(first in in\.csv, row 2\)"
    ) as caught:
        Pipeline.from_dict(both).run()
    assert not Path("out").exists()
    assert not Path("two").exists()
    assert caught.value.exit_code == 3


def test_an_allowed_share_lets_few_pass_under_abort(here: Path) -> None:
    Path("in.csv").write_text("id,kind,price\n1,a,1\n2,zz,1\n3,a,\n4,b,1\n")
    report = Pipeline.from_dict(config({"schema": "row.avsc", "max_share": "25%"})).run()
    assert report.exit_code == 0
    assert [row["id"] for row in loaded()] == [1, 3, 4]


@pytest.mark.parametrize(
    ("share", "rows", "failing"), [("0.7%", 1000, 7), ("2.9%", 1000, 29), (0.07, 100, 7)]
)
def test_a_share_that_is_just_allowed_passes(here: Path, share: object, rows: int, failing: int) -> None:
    texts = [f"{number},{'zz' if number < failing else 'a'},1\n" for number in range(rows)]
    Path("in.csv").write_text("id,kind,price\n" + "".join(texts))
    report = Pipeline.from_dict(config({"schema": "row.avsc", "max_share": share})).run()
    assert (report.exit_code, report.rows_loaded) == (0, rows - failing)


@pytest.mark.parametrize("share", ["1e9999999999999999999%", "%", "x%", "-1%", "101%", "nan%"])
def test_what_is_no_share_is_a_fault_of_the_config(here: Path, share: str) -> None:
    with pytest.raises(ConfigError, match="max_share"):
        Pipeline.from_dict(config({"schema": "row.avsc", "max_share": share}))


def test_more_than_the_allowed_share_ends_with_exit_code_4(here: Path) -> None:
    quarantine = {"schema": "row.avsc", "on_mismatch": "quarantine", "max_share": "1%"}
    report = Pipeline.from_dict(config(quarantine)).run()
    assert report.exit_code == 4
    assert [row["id"] for row in loaded()] == [1, 5]


def test_a_contract_that_is_switched_off_checks_nothing(here: Path) -> None:
    off = config({"schema": "missing.avsc", "enabled": False}, schema="id INT, kind STRING, price STRING")
    report = Pipeline.from_dict(off).run()
    assert report.rows_rejected == 0
    assert len(ds.dataset("out", format="parquet").to_table()) == 5


def test_coerce_casts_what_survives_and_sets_the_rest_aside(here: Path) -> None:
    parquet(id=["1", "2.5", "x", "4"], kind=["a", "b", "a", "b"], price=[0.25, 1.0, 2.0, 0.125])
    pipeline = Pipeline.from_dict(config({"schema": "row.avsc", "on_mismatch": "coerce"}, "in.parquet"))
    pipeline.run()
    table = ds.dataset("out", format="parquet").to_table()
    assert [str(field.type) for field in table.schema][::2] == ["int32", "decimal128(6, 2)"]
    assert [row["id"] for row in loaded()] == [1]
    found = {row: kinds for row, (_, kinds) in reasons(pipeline).items()}
    assert found == {1: {("type", "id")}, 2: {("type", "id")}, 3: {("type", "price")}}


def test_types_that_cannot_fit_are_said_before_a_row_is_read(here: Path) -> None:
    parquet(id=["1"], kind=[3], prize=[0.25])
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_dict(config("row.avsc", "in.parquet")).run()
    found = [problem.message for problem in caught.value.problems]
    assert [message.split(",")[0] for message in found] == [
        "the column 'id' is string",
        "the column 'kind' is bigint",
        "the contract promises the column 'price'",
    ]
    assert not Path("out").exists()


@pytest.mark.parametrize(("extra", "columns"), [("keep", 4), ("drop", 3)])
def test_extra_columns(here: Path, extra: str, columns: int) -> None:
    parquet(more=[1.5], id=[1], kind=["a"], price=[None])
    contract = {"schema": "row.avsc", "extra_fields": extra}
    Pipeline.from_dict(config(contract, "in.parquet")).run()
    (row,) = loaded()
    assert list(row)[:3] == ["id", "kind", "price"]
    assert len(row) == columns


def test_extra_columns_that_are_refused_are_named(here: Path) -> None:
    parquet(more=[1.5], id=[1], kind=["a"], price=[None])
    with pytest.raises(ConfigError, match="does not name: more"):
        Pipeline.from_dict(config({"schema": "row.avsc", "extra_fields": "reject"}, "in.parquet")).run()


def test_a_contract_before_a_load_guards_that_load(here: Path) -> None:
    guarded = config(None, schema="id INT, kind STRING, price STRING")
    guarded["transform"] = [{"id": "t", "type": "select", "columns": ["id", "upper(kind) AS kind"]}]
    schema = {
        "type": "record",
        "name": "Out",
        "fields": [{"name": "id", "type": "int"}, {"name": "kind", "type": "string"}],
    }
    guarded["load"][0]["contract"] = {"schema": schema, "on_mismatch": "quarantine"}
    pipeline = Pipeline.from_dict(guarded)
    report = pipeline.run()
    assert [row["kind"] for row in loaded()] == ["A", "C", "ZZ", "B"]
    assert report.balanced
    assert reasons(pipeline) == {2: (b",b,", {("not_null", "id")})}


def test_nested_records_in_json_lines(here: Path) -> None:
    point = {"type": "record", "name": "P", "fields": [{"name": "lat", "type": "double"}]}
    fields = [{"name": "id", "type": "int"}, {"name": "at", "type": {"type": "array", "items": point}}]
    Path("in.json").write_text('{"id":1,"at":[{"lat":1.5}]}\n{"id":2,"at":[{"lat":null}]}\n{"id":3}\n')
    schema = {"type": "record", "name": "J", "fields": fields}
    pipeline = Pipeline.from_dict(config({"schema": schema, "on_mismatch": "quarantine"}, "in.json"))
    pipeline.run()
    assert [row["id"] for row in loaded()] == [1]
    found = {row: kinds for row, (_, kinds) in reasons(pipeline).items()}
    assert found == {1: {("not_null", "at[].lat")}, 2: {("not_null", "at")}}


@pytest.mark.parametrize("extra", ["keep", "drop", "reject"])
def test_records_of_json_may_bear_an_alias_each(here: Path, extra: str) -> None:
    lines = '{"id": 1, "old": 7}', '{"id": 2, "price": 8}', '{"id": 3, "old": "x"}', '{"id": 4}'
    Path("in.json").write_text("\n".join(lines))
    fields = FIELDS[0], {"name": "price", "type": "int", "aliases": ["older", "old"]}
    schema = {"type": "record", "name": "Row", "fields": [*fields]}
    contract = {"schema": schema, "on_mismatch": "quarantine", "extra_fields": extra}
    pipeline = Pipeline.from_dict(config(contract, "in.json"))
    pipeline.run()
    assert loaded() == [{"id": 1, "price": 7}, {"id": 2, "price": 8}]
    assert reasons(pipeline) == {
        2: (lines[2].encode(), {("malformed", None)}),
        3: (lines[3].encode(), {("not_null", "price")}),
    }


def test_a_column_of_csv_under_an_alias_is_read_with_the_promised_type(here: Path) -> None:
    Path("in.csv").write_text("id,old,price\n1,7,a\n2,x,b\n")
    fields = FIELDS[0], {"name": "amount", "type": "int", "aliases": ["old"]}
    schema = {"type": "record", "name": "Row", "fields": [*fields]}
    pipeline = Pipeline.from_dict(config({"schema": schema, "on_mismatch": "quarantine"}))
    pipeline.run()
    assert loaded() == [{"id": 1, "amount": 7, "price": "a"}]
    assert reasons(pipeline) == {1: (b"2,x,b", {("malformed", None)})}


def test_a_fresh_input_is_recognised_the_next_time(here: Path) -> None:
    fresh = config(None, schema="id INT, kind STRING, price STRING")
    fresh["transform"] = [
        {"type": "select", "add": {"t": "TIMESTAMP '2020-01-01 00:00:00'"}},
        {
            "type": "validate",
            "rules": [{"freshness": {"column": "t", "max_age": "1d"}, "on_failure": "warn"}],
        },
    ]
    report = Pipeline.from_dict(fresh).run()
    assert [(check.passed, check.observed) for check in report.checks] == [(False, "2020-01-01 00:00:00")]
    assert Pipeline.from_dict(fresh).run().status == "skipped"
