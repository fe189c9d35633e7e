"""Reading Spark SQL: nothing lost, places kept, faults placed."""

from __future__ import annotations

import pytest
from sqlglot import exp

from rayetl.errors import SqlError, UnsupportedSqlError
from rayetl.sql import parse_expression, parse_projection, parse_query, render

ROUND_TRIPS = """
SELECT 1L, 2.5BD, 1e3D, -1S FROM t
SELECT 0L, 3S, 4Y, 5D, 6F, 7BD, 8L, 9e2D, .5D, .25BD FROM t
SELECT a IS DISTINCT FROM b, a IS NOT DISTINCT FROM b, a <=> b FROM t
SELECT array(1, 2)[0], map('a', 1)['a'], struct(a AS x, b), f(x).y FROM t
SELECT trim(x), trim(BOTH 'x' FROM y), trim(LEADING FROM y), extract(YEAR FROM d) FROM t
SELECT transform(xs, x -> x + 1), aggregate(xs, 0, (a, x) -> a + x), exists(xs, x -> x > 1), any(b) FROM t
SELECT count(*), count(DISTINCT a, b), sum(x) FILTER(WHERE y > 1) FROM t GROUP BY a HAVING count(*) > 1
SELECT sum(x) OVER (PARTITION BY a ORDER BY b DESC NULLS FIRST ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT sum(x) OVER w FROM t WINDOW w AS (PARTITION BY a)
SELECT a FROM t WHERE a NOT IN (1, 2) AND b NOT LIKE 'x%' AND c IS NOT NULL AND a <=> b
SELECT a FROM t WHERE b LIKE '%a/%%' ESCAPE '/' OR c BETWEEN 1 AND 2
SELECT * FROM t LATERAL VIEW OUTER explode(xs) e AS v
SELECT * FROM t PIVOT(sum(x) AS s FOR k IN ('a' AS aa, 'b'))
SELECT * FROM t UNPIVOT INCLUDE NULLS (v FOR n IN (a AS x, b))
SELECT * FROM VALUES (1, 'a'), (2, NULL) AS t(a, b)
SELECT INTERVAL '1 2' DAY TO HOUR, INTERVAL 3 MONTH, DATE '2020-01-01', TIMESTAMP '2020-01-01 00:00:00' FROM t
SELECT CAST(a AS DECIMAL(10, 2)), TRY_CAST(b AS INT), CAST(c AS VARCHAR(10)) FROM t
SELECT first(x) IGNORE NULLS OVER (ORDER BY y) FROM t
SELECT a, sum(b) FROM t GROUP BY GROUPING SETS ((a), ())
SELECT `a b`, `order`.x FROM t ORDER BY ALL
SELECT if(a, b, c), left(s, 1), current_date(), ceil(x), decode(a, 1, 2), nvl2(a, b, c) FROM t
""".strip().splitlines()


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_text_survives_a_round_trip(text: str) -> None:
    once = render(parse_query(text))
    assert render(parse_query(once)) == once
    assert "".join(once.split()).lower().replace("(", "") != ""
    assert parse_query(once) == parse_query(text)


def test_a_call_keeps_its_arguments_as_written() -> None:
    call = parse_expression("date_add(d, 1)")
    assert isinstance(call, exp.Anonymous)
    assert call.this == "date_add"
    assert [arg.sql() for arg in call.expressions] == ["d", "1"]


def test_an_index_behind_a_call_does_not_swallow_the_arguments() -> None:
    tree = parse_expression("array(1, 2)[0]")
    assert isinstance(tree, exp.Bracket)
    assert len(tree.this.expressions) == 2


def test_nodes_know_their_place_and_origin() -> None:
    tree = parse_query("SELECT a, bb + 1 FROM t", ("transform", 0, "query"))
    column = next(c for c in tree.find_all(exp.Column) if c.name == "bb")
    assert column.meta["start"] == 10
    assert column.meta["origin"] == ("transform", 0, "query")
    addition = tree.find(exp.Add)
    assert addition is not None
    assert addition.meta["start"] == 10


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("SELECT a FORM t x", 14, "unexpected"),
        ("SELECT (a FROM t", 10, "expected"),
        ("SELECT 'abc FROM t", 7, "never closed"),
        ("", 0, "empty"),
        ("DROP TABLE t", 0, "only queries"),
        ("INSERT INTO t SELECT 1", 0, "only queries"),
        ("SELECT 1; SELECT 2", 0, "one statement"),
        ("SELECT a::int FROM t", 8, "::"),
        ("SELECT a + FROM t", 11, "something is missing"),
    ],
)
def test_a_syntax_error_has_a_place(text: str, offset: int, message: str) -> None:
    with pytest.raises(SqlError) as caught:
        parse_query(text)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.offset is not None
    assert abs(problem.offset - offset) <= 4


def test_what_the_parser_would_drop_is_refused() -> None:
    with pytest.raises(UnsupportedSqlError, match="not understood"):
        parse_query("SELECT 1 FROM t JOIN LATERAL explode(x) e")


def test_a_projection_may_have_a_name_and_an_expression_may_not() -> None:
    assert parse_projection("a + 1 AS b").alias == "b"
    with pytest.raises(SqlError, match="not allowed"):
        parse_expression("a + 1 AS b")


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(SqlError):
        parse_query("SELECT " + "(" * 5000 + "1" + ")" * 5000)
