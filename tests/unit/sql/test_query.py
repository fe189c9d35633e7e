"""Queries over tables in memory, and the plans they become."""

from __future__ import annotations

import itertools
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import rayetl
from rayetl import sql
from rayetl.errors import SqlError, Terminal
from rayetl.sql.interop import from_polars
from rayetl.sql.lower.moments import format_dates

T = pl.DataFrame({"id": [1, 2, 3, None], "g": ["a", "a", None, "b"], "x": [1.0, float("nan"), -0.0, 0.0]})


def rows(query: str, **tables: pl.DataFrame) -> list[tuple[object, ...]]:
    found = rayetl.query(query, {"t": T, **tables})
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def test_arrow_and_polars_tables_give_the_same() -> None:
    query = "SELECT id, x FROM t ORDER BY id"
    frames = (T, T.lazy(), T.to_arrow())
    assert len({str(rayetl.query(query, {"t": frame}).to_pydict()) for frame in frames}) == 1


def test_result_is_an_arrow_table_with_sparks_types() -> None:
    found = rayetl.query("SELECT id, g, count(*) OVER () AS n FROM t", {"t": T})
    assert found.schema.types == [pa.int64(), pa.string(), pa.int64()]


def test_two_columns_may_have_one_name_in_arrow_but_not_in_a_frame() -> None:
    assert rayetl.query("SELECT id, id FROM t", {"t": T}).schema.names == ["id", "id"]
    analyzed = sql.analyze("SELECT id, id FROM t", {"t": from_polars(T.schema)})
    with pytest.raises(SqlError, match="are called id"):
        sql.lower(analyzed, {"t": T.lazy()})


def test_a_scalar_subquery_of_two_rows_fails_while_it_runs() -> None:
    with pytest.raises(Terminal, match="failed while it ran"):
        rayetl.query("SELECT (SELECT id FROM t) AS x", {"t": T})


def test_not_in_with_a_null_keeps_nothing() -> None:
    assert (
        rows("SELECT id FROM t WHERE id NOT IN (SELECT id FROM u)", u=pl.DataFrame({"id": [7, None]})) == []
    )


def test_not_in_nothing_keeps_everything() -> None:
    none = pl.DataFrame({"id": []}, schema={"id": pl.Int64})
    assert len(rows("SELECT id FROM t WHERE id NOT IN (SELECT id FROM u)", u=none)) == 4


def test_minus_zero_and_nan_group_as_in_spark() -> None:
    found = rows("SELECT x, count(*) AS c FROM t GROUP BY x ORDER BY x")
    assert [str(x) for x, _ in found] == ["0.0", "1.0", "nan"]
    assert [c for _, c in found] == [2, 1, 1]


def test_an_aggregate_over_nothing_is_one_row() -> None:
    assert rows("SELECT count(*), max(id) FROM t WHERE id > 99") == [(0, None)]


def test_filters_and_columns_reach_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    T.write_parquet(path)
    scan = pl.scan_parquet(path)
    analyzed = sql.analyze("SELECT id, x * 0.5 AS half FROM t WHERE x > 0.25", {"t": from_polars(T.schema)})
    plan = sql.lower(analyzed, {"t": scan}).explain()
    assert 'SELECTION: col("x") > 0.25' in plan
    assert "PROJECT 2/3 COLUMNS" in plan


def test_comma_joins_become_hash_joins_without_a_product() -> None:
    query = "SELECT a.id FROM t a, t b, t c WHERE a.id = c.id AND b.id = c.id AND a.x > 0"
    plan = sql.lower(sql.analyze(query, {"t": from_polars(T.schema)}), {"t": T.lazy()}).explain()
    assert "CROSS" not in plan
    assert plan.count("INNER JOIN:") == 2


@pytest.mark.parametrize(("query", "tables"), [(5, {}), ("SELECT 1", {"t": 5}), ("SELECT 1", {"t": None})])
def test_what_is_no_text_or_no_table_is_told(query: object, tables: object) -> None:
    with pytest.raises(TypeError, match=r"sql is a text, not int|the table 't' is neither"):
        rayetl.query(query, tables)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "join", ["LEFT JOIN r ON l.id > r.x + 5 AND l.id < r.x + 8", "FULL JOIN r ON l.id > r.x"]
)
def test_a_join_by_condition_reads_rows_of_no_fixed_order_once(join: str) -> None:
    def moving(frame: pl.DataFrame) -> pl.LazyFrame:
        turns = itertools.count()
        return frame.lazy().map_batches(lambda rows: rows.reverse() if next(turns) % 2 else rows)

    left = pl.DataFrame({"id": range(50), "v": [f"v{number}" for number in range(50)]})
    right = pl.DataFrame({"x": range(20, 30), "w": [f"w{number}" for number in range(10)]})
    query = f"SELECT id, v, x, w FROM l {join}"
    still = rayetl.query(query, {"l": left, "r": right}).to_pylist()
    moved = rayetl.query(query, {"l": moving(left), "r": moving(right)}).to_pylist()
    assert sorted(map(str, moved)) == sorted(map(str, still))


def test_an_unknown_time_zone_is_told_before_anything_runs() -> None:
    with pytest.raises(SqlError, match="'Mars' is not a time zone"):
        rayetl.query("SELECT 1", {}, time_zone="Mars")


@pytest.mark.parametrize("sets", ["ROLLUP ({keys})", "GROUPING SETS (({keys}), (k0), (k0), ())"])
def test_grouping_sets_of_many_keys_are_told_apart(sets: str) -> None:
    def groups(count: int) -> list[tuple[object, ...]]:
        names = [f"k{number}" for number in range(count)]
        table = pl.DataFrame({name: [1] for name in names})
        clause = sets.format(keys=", ".join(names))
        return rows(f"SELECT count(*), grouping_id() FROM w GROUP BY {clause}", w=table)

    assert len(groups(62)) == (63 if "ROLLUP" in sets else 4)
    assert max(level for _, level in groups(62)) == 2**62 - 1
    with pytest.raises(SqlError, match="64 keys in ROLLUP, CUBE or GROUPING SETS are not supported"):
        groups(64)


@pytest.mark.parametrize(
    "tied",
    [
        "t.id = u.id AND EXISTS (SELECT 1 FROM u AS v WHERE v.id = t.id AND v.x <> t.x)",
        "NOT EXISTS (SELECT 1 FROM u AS v WHERE v.id = t.id AND v.x <> t.x) AND t.id = u.id",
        "(t.id = u.id AND t.x > 1) OR (u.id = t.id AND u.x > 1)",
    ],
)
def test_tables_that_a_condition_ties_together_are_never_multiplied(tied: str) -> None:
    many = pl.DataFrame({"id": range(100_000), "x": [1.0] * 100_000})
    tables = {"t": many, "u": many}
    analyzed = sql.analyze(
        f"SELECT t.id FROM t, u WHERE {tied}", {name: from_polars(many.schema) for name in tables}
    )
    frame = sql.lower(analyzed, {name: table.lazy() for name, table in tables.items()})
    plan = frame.explain()
    assert "CROSS JOIN" not in plan
    assert "NESTED LOOP JOIN" not in plan


@pytest.mark.parametrize(
    "value",
    [
        "timestamp_millis(n)",
        "timestampadd(DAY, cast(n AS INT), TIMESTAMP'2020-01-01 00:00:00')",
        "timestampadd(WEEK, cast(n AS INT), TIMESTAMP_NTZ'2020-01-01 00:00:00')",
        "slice(array(1, 2, 3), 1, cast(-n AS INT))",
        "slice(array(1, 2, 3), cast(n % 1 AS INT), 1)",
        "element_at(array(1, 2, 3), cast(n % 1 AS INT))",
    ],
)
def test_where_spark_ends_the_query_there_is_no_other_value(value: str) -> None:
    table = pa.table({"n": pa.array([2**31 - 1, 2**62 + 2**31 - 1, 1, None], pa.int64())})
    found = rayetl.query(f"SELECT {value} AS v, n FROM t ORDER BY n", {"t": table})["v"].to_pylist()
    assert found[0] is None
    assert found[-1] is None
    assert sum(each is None for each in found) >= 2


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        (" AND ".join(f"id <> {number}" for number in range(3, 5_000)), [True, True, False, None]),
        (" OR ".join(f"id = {number}" for number in range(2, 5_000)), [False, True, True, None]),
        (
            " OR ".join(f"(id = {number} AND x < {number})" for number in range(1, 999)),
            [False, False, True, None],
        ),
        ("+".join(["id"] * 400), [400, 800, 1200, None]),
        ("coalesce(" * 120 + "id" + ", 0)" * 120, [1, 2, 3, 0]),
        ("(" * 120 + "id" + ")" * 120, [1, 2, 3, None]),
        ("".join(f"if(id = {n}, {n}, " for n in range(1, 100)) + "0" + ")" * 99, [1, 2, 3, 0]),
        ("bigint(" * 60 + "id" + ")" * 60, [1, 2, 3, None]),
        ("nullif(" * 30 + "id" + "".join(f", {n}.0)" for n in range(2, 32)), [1, None, None, None]),
        (
            "CASE " + "".join(f"WHEN id = {n} THEN {n % 7} " for n in range(2, 3_000)) + "ELSE -1 END",
            [-1, 2, 3, -1],
        ),
        (
            "CASE " + "".join(f"WHEN id + x > {n} THEN {n} " for n in range(999, 0, -1)) + "END",
            [1, 999, 2, None],
        ),
        (
            "CASE WHEN " * 16
            + "id"
            + (" = 1 THEN 1 " + "".join(f"WHEN id = {n} THEN {n} " for n in range(2, 103)) + "END") * 16,
            [1, 2, 3, None],
        ),
    ],
    ids=[
        "and",
        "or",
        "or of and",
        "plus",
        "functions",
        "brackets",
        "if",
        "casts",
        "nullif",
        "case",
        "case without else",
        "case of case",
    ],
)
def test_generated_sql_may_be_long_and_deep(expression: str, found: list[object]) -> None:
    assert [row[0] for row in rows(f"SELECT {expression} AS found FROM t ORDER BY id NULLS LAST")] == found


def test_what_is_nested_too_deeply_is_told_with_what_to_do() -> None:
    for expression in ("(" * 5_000 + "id" + ")" * 5_000, "+".join(["id"] * 5_000)):
        with pytest.raises(SqlError, match="nested too deeply") as caught:
            rows(f"SELECT {expression} FROM t")
        assert caught.value.problems[0].hint == "compute it in several columns or steps"


def doubling(levels: int) -> str:
    ctes = ["c0 AS (SELECT id, id AS n FROM t WHERE id < 3)"]
    for level in range(levels):
        pair = f"c{level} AS a JOIN c{level} AS b ON a.id = b.id"
        ctes.append(f"c{level + 1} AS (SELECT a.id, a.n + b.n AS n FROM {pair})")
    return f"WITH {', '.join(ctes)} SELECT id, n FROM c{levels} ORDER BY id"


def test_ctes_may_each_read_the_one_before_twice() -> None:
    assert rows(doubling(8)) == [(1, 256), (2, 512)]


def test_ctes_that_double_without_end_are_told_with_what_to_do() -> None:
    with pytest.raises(SqlError, match="reads tables in more than 10,000 places") as caught:
        rows(doubling(40))
    assert len(caught.value.problems) == 1


def test_a_long_chain_has_the_name_that_its_pairs_have() -> None:
    conditions = [f"(id = {number})" for number in range(40)]
    name = conditions[0]
    for condition in conditions[1:]:
        name = f"({name} OR {condition})"
    assert rayetl.query(f"SELECT {' OR '.join(conditions)} FROM t", {"t": T}).schema.names == [name]


def test_a_chain_is_the_same_in_any_order_and_brackets() -> None:
    grouped = "SELECT count(*) FROM t GROUP BY id > 1 AND x > 0 AND g = 'a' ORDER BY {}"
    assert rows(grouped.format("g = 'a' AND (id > 1 AND x > 0)"))
    assert rows("SELECT id > 1 AND x > 0 AND count(*) > 0 AS c FROM t GROUP BY id > 1 AND x > 0")


@pytest.mark.parametrize(
    ("around", "depth", "found"),
    [
        ("({} / 2)", 7, [Decimal("-0.056640625"), Decimal("0.01171875"), None]),
        ("abs({})", 30, [Decimal("1.50"), Decimal("7.25"), None]),
        ("pmod({}, 7)", 12, [Decimal("1.50"), Decimal("6.75"), None]),
        ("cast(cast({} AS STRING) AS DECIMAL(10,2))", 12, [Decimal("-7.25"), Decimal("1.50"), None]),
        (
            "transform(array({}), x -> abs(pmod(abs(pmod(abs(pmod(abs(x), 7)), 7)), 7)))[0]",
            3,
            [Decimal("0.25"), Decimal("1.50"), None],
        ),
        (
            "CASE WHEN v > 0 THEN least({}, 5) ELSE greatest({}, -5) END",
            4,
            [Decimal("1.50"), Decimal("-5.00"), Decimal("-5.00")],
        ),
        ("max(lpad(rpad({}, 9, 'x'), 9, 'y')) OVER (PARTITION BY v)", 1, ["-7.25xxxx", "1.50xxxxx", None]),
    ],
)
def test_functions_deep_in_each_other_are_not_written_out_over_and_over(
    around: str, depth: int, found: list[object]
) -> None:
    query = "v"
    for _ in range(depth):
        query = around.replace("{}", query)
    table = pl.DataFrame({"v": ["1.50", "-7.25", None]}).cast(pl.Decimal(10, 2))
    values = rayetl.query(f"SELECT {query} AS x FROM t", {"t": table})["x"].to_pylist()
    assert sorted(values, key=str) == sorted(found, key=str)


@pytest.mark.parametrize(
    "days",
    [
        [-25_567, None, 0, 47_481],  # the first and the last day that the table of texts has
        [-25_568, 0],
        [0, 47_482],
        [-1_000_000, 10_000_000],
        [None],
        [],
    ],
)
def test_dates_become_the_texts_that_polars_writes_them_as(days: list[int | None]) -> None:
    dates = pl.Series("d", days, dtype=pl.Int32).cast(pl.Date)
    assert format_dates(dates).equals(dates.dt.strftime("%Y-%m-%d"), check_names=True, null_equal=True)
