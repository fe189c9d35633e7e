"""Analysis: what a query means, and every reason why it means nothing, each with its place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rayetl import sql
from rayetl.errors import SqlError, UnsupportedSqlError
from rayetl.sql.interop import parse_ddl

SCHEMAS = {
    "t": parse_ddl("id BIGINT, g STRING, n INT, price DECIMAL(10,2), s STRUCT<a: INT, b: STRING>"),
    "u": parse_ddl("id INT, y DOUBLE, m MAP<STRING, INT>, xs ARRAY<INT>"),
}


def problems(query: str) -> list[tuple[str, int | None, str | None]]:
    with pytest.raises(SqlError) as caught:
        sql.analyze(query, SCHEMAS)
    return [(problem.message, problem.offset, problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("query", "schema"),
    [
        ("SELECT id, n + 1 AS m FROM t", "struct<id:bigint,m:int>"),
        (
            "SELECT price * price, price / 3 FROM t",
            "struct<(price * price):decimal(21,4),(price / 3):decimal(14,6)>",
        ),
        (
            "SELECT count(*), avg(n), sum(price) FROM t",
            "struct<count(1):bigint,avg(n):double,sum(price):decimal(20,2)>",
        ),
        ("SELECT s.a, s.* FROM t", "struct<a:int,a:int,b:string>"),
        ("SELECT n FROM t UNION ALL SELECT y FROM u", "struct<n:double>"),
        ("SELECT g, row_number() OVER (ORDER BY g) AS r FROM t", "struct<g:string,r:int>"),
        ("SELECT explode(m) FROM u", "struct<key:string,value:int>"),
        ("SELECT * FROM t JOIN u USING (id)", None),
    ],
)
def test_schema(query: str, schema: str | None) -> None:
    found = sql.analyze(query, SCHEMAS).schema
    if schema is not None:
        assert str(found) == schema
    else:
        assert found.names == ("id", "g", "n", "price", "s", "y", "m", "xs")


def test_inputs_are_those_that_are_read() -> None:
    assert sql.analyze("SELECT id FROM t WHERE id IN (SELECT id FROM u)", SCHEMAS).inputs <= {"t", "u"}
    assert sql.analyze("WITH t AS (SELECT 1 AS id) SELECT id FROM t", SCHEMAS).inputs == frozenset()


def test_nullability_follows_outer_joins() -> None:
    fields = sql.analyze(
        "SELECT a.c, b.c AS d FROM (SELECT 1 AS c) a LEFT JOIN (SELECT 1 AS c) b ON a.c = b.c", {}
    ).schema
    assert [field.nullable for field in fields] == [False, True]


def test_all_problems_are_reported_at_once() -> None:
    found = problems("SELECT idd, nn, t.foo, v.x FROM t WHERE zzz = 1 GROUP BY qqq")
    assert {offset for _, offset, _ in found} == {7, 12, 16, 23, 40, 57}


@pytest.mark.parametrize(
    ("query", "message", "offset"),
    [
        ("SELECT prise FROM t", "no column prise", 7),
        ("SELECT id FROM tt", "no table tt", 15),
        ("SELECT id FROM t JOIN u ON t.id = u.id", "id is ambiguous", 7),
        ("SELECT x.id FROM t", "no table or column x", 7),
        ("SELECT s.c FROM t", "no field c", 7),
        ("SELECT id, sum(n) FROM t", "id is neither in GROUP BY", 7),
        ("SELECT id FROM t WHERE sum(n) > 1", "not allowed in WHERE", 23),
        ("SELECT id FROM t WHERE g", "must be a boolean", 23),
        ("SELECT id FROM t ORDER BY 4", "position 4", 26),
        ("SELECT DISTINCT id FROM t ORDER BY n", "ORDER BY can only use the select list", 35),
        ("SELECT id FROM t UNION SELECT id, y FROM u", "same number of columns", None),
        ("SELECT m, count(*) FROM u GROUP BY m", "cannot compare", 35),
        ("SELECT t.id FROM t JOIN u USING (nope)", "has no column nope", None),
        ("SELECT sum(sum(n)) FROM t", "inside another", 11),
        ("SELECT id FROM t WHERE id IN (SELECT id, y FROM u)", "must give 1 column", None),
        ("SELECT * EXCEPT (id) FROM t", "no * EXCEPT", 17),
        ("SELECT id FROM t LIMIT -1", "not negative", None),
        ("SELECT id FROM t WHERE rank() OVER (ORDER BY id) = 1", "the window function rank is not", 23),
        ("SELECT id FROM t ORDER BY 1 + sum(n) OVER ()", "not allowed in ORDER BY", 30),
        ("SELECT explode(array(1)) FROM t HAVING sum(n) > 1", "explode beside HAVING", 7),
        ("SELECT n, grouping(id) FROM t GROUP BY ROLLUP (n)", "no key of GROUP BY", 10),
        ("SELECT n, grouping_id(id) FROM t GROUP BY ROLLUP (n)", "takes all keys", 10),
        ("SELECT grouping(n) OVER () FROM t GROUP BY CUBE (n)", "cannot be used with OVER", 7),
        ("SELECT n, grouping(n) FROM t GROUP BY n", "needs ROLLUP", 10),
        ("SELECT n, explode(array(1)) FROM t GROUP BY ROLLUP (n)", "explode beside ROLLUP", 10),
        ("SELECT id FROM t WHERE explode(array(true))", "not allowed in WHERE", 23),
        ("SELECT sum(n) FILTER (WHERE max(n) > 1) FROM t", "function max is not allowed inside", 28),
        ("SELECT row_number() FROM t", "row_number needs OVER", 7),
    ],
)
def test_a_fault_has_a_message_and_a_place(query: str, message: str, offset: int | None) -> None:
    found = problems(query)
    assert any(message in text for text, _, _ in found), found
    if offset is not None:
        assert found[0][1] == offset


def test_the_nearest_name_is_offered() -> None:
    ((_, _, hint),) = problems("SELECT prise FROM t")
    assert hint is not None
    assert "did you mean price?" in hint


def test_of_very_many_unknown_names_the_first_are_offered_a_near_one() -> None:
    wide = parse_ddl(", ".join(f"column_nr_{number} INT" for number in range(2_000)))
    wrong = ", ".join(f"colum_number_{number}" for number in range(2_000))
    with pytest.raises(SqlError) as caught:
        sql.analyze(f"SELECT {wrong} FROM wide", {"wide": wide})
    hints = [problem.hint or "" for problem in caught.value.problems]
    assert len(hints) == 2_000
    assert "did you mean" in hints[0]
    assert hints[-1].startswith("there is column_nr_0, ")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM t TABLESAMPLE (10 PERCENT)",
        "SELECT id, (SELECT y FROM u WHERE u.id = t.id) FROM t",
        "SELECT id FROM t, LATERAL (SELECT 1) s",
    ],
)
def test_what_the_engine_cannot_run_is_refused_by_name(query: str) -> None:
    with pytest.raises(UnsupportedSqlError):
        sql.analyze(query, SCHEMAS)


def test_origins_reach_the_problem() -> None:
    tree = sql.parse_query("SELECT nope FROM t", ("transform", 2, "query"))
    with pytest.raises(SqlError) as caught:
        sql.analyze(tree, SCHEMAS)
    assert caught.value.problems[0].path == ("transform", 2, "query")


def test_analysis_loads_neither_polars_nor_arrow() -> None:
    script = (
        "import sys, rayetl.sql as sql\n"
        "from rayetl.sql.types import INT, STRING, Field, Schema\n"
        "sql.analyze('SELECT a + 1, upper(b), count(*) FROM t GROUP BY a, b',"
        " {'t': Schema((Field('a', INT), Field('b', STRING)))})\n"
        "assert callable(sql.analyze) and callable(sql.lower)\n"
        "print([m for m in ('polars', 'pyarrow', 'pyspark') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def calls(query: str, **schemas: str) -> int:
    """How many calls the analysis of a query takes, which tells its work whatever the machine is busy with."""
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event.endswith("call")

    known = {name: parse_ddl(schema) for name, schema in schemas.items()}
    parsed = sql.parse_query(query)
    sys.setprofile(note)
    try:
        sql.analyze(parsed, known)
    finally:
        sys.setprofile(None)
    return count


def test_the_work_grows_with_the_columns_and_not_with_their_square() -> None:
    def work(width: int) -> int:
        numbers = range(width)
        columns = ", ".join(f"c{number} INT" for number in numbers)
        wanted = ", ".join(f"c{number} + 1 AS d{number}, c{number} AS e{number}" for number in numbers)
        return calls(f"SELECT {wanted} FROM wide", wide=columns)

    assert work(500) < 12 * work(50)


def test_the_work_grows_with_the_levels_of_a_struct_as_its_text_does() -> None:
    def work(depth: int) -> int:
        names = [f"f{level}" for level in range(depth)]
        schema = "a " + "".join(f"STRUCT<{name}: " for name in names) + "INT" + ">" * depth
        paths = [".".join(["a", *names[:level]]) for level in range(depth)]
        tests = [" AND ".join(f"{path} IS NOT NULL" for path in paths[: level + 1]) for level in range(depth)]
        return calls(
            f"SELECT {', '.join(f'{test} AS t{n}' for n, test in enumerate(tests))} FROM deep", deep=schema
        )

    assert work(24) < 2**3.5 * work(12)
