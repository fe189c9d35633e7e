"""What is refused, and in which words: never a silently different answer."""

from __future__ import annotations

import pytest

from rayetl.errors import SqlError, UnsupportedSqlError
from rayetl.sql.analyzed import analyze
from rayetl.sql.interop import parse_ddl

TABLE = {"t": parse_ddl("i INT, s STRING, d DATE, m DECIMAL(38,10), a ARRAY<INT>, ts TIMESTAMP")}


@pytest.mark.parametrize(
    ("expression", "kind", "part"),
    [
        ("struct()", UnsupportedSqlError, "without fields"),
        ("regexp_replace(s, '(?=x)', '')", UnsupportedSqlError, "lookahead"),
        ("s rlike '(a)\\\\1'", UnsupportedSqlError, "back references"),
        ("date_format(d, 'QQ')", UnsupportedSqlError, "QQ"),
        ("date_format(d, s)", UnsupportedSqlError, "constant"),
        ("current_date(1)", SqlError, "takes 0 arguments"),
        ("localtimestamp", SqlError, "there is no column localtimestamp"),
        ("approx_count_distinct(i)", UnsupportedSqlError, "approximate"),
        ("transform(a, x -> x + i)", UnsupportedSqlError, "other columns"),
        ("transform(a, x -> transform(a, y -> x + y))", UnsupportedSqlError, "a lambda around it"),
        ("filter(a, x -> exists(array(1), y -> x = y))", UnsupportedSqlError, "a lambda around it"),
        ("greatest(a, a)", UnsupportedSqlError, "the order of arrays"),
        ("map()", UnsupportedSqlError, "without entries"),
        ("s rlike '(?i)é'", UnsupportedSqlError, "the flag i, but not u"),
        ("s rlike '(?U)\\\\w'", UnsupportedSqlError, "the flag U"),
        ("regexp_replace(s, '(a$)', '')", UnsupportedSqlError, "a $ within a group"),
        ("regexp_replace(s, '[^a]$', '')", UnsupportedSqlError, "matches the end of a line"),
        ("regexp_extract(s, 'a$|b', 0)", UnsupportedSqlError, "a $ within what is extracted"),
        ("ts - '2020-01-01'", SqlError, "do not go together"),
        ("rand()", SqlError, "gives other values each time it is asked"),
        ("zip_with(a, shuffle(a), (x, y) -> x)", SqlError, "shuffle gives other values"),
        ("input_file_name()", SqlError, "names files that are not those of the source"),
        ("array_repeat(i, 2)", UnsupportedSqlError, "engine: spark runs it"),
        ("uper(s)", SqlError, "did you mean upper"),
        ("cast(a as array<>)", SqlError, "expected a type, found '>' in the type 'array<>'"),
        ("equal_null(s)", SqlError, "takes 2 arguments, 1 given"),
        ("upper(s, s)", SqlError, "takes 1 argument, 2 given"),
        ("split_part(s, '.', 0)", SqlError, "0 is none"),
        ("upper(a)", SqlError, "argument 1 must be string, not array<int>"),
        ("a + 1", SqlError, "do not go together"),
        ("s and i > 1", SqlError, "boolean"),
        ("cast(a as int)", SqlError, "cannot be cast"),
        ("upper(distinct s)", SqlError, "DISTINCT is for aggregate functions"),
        ("sum(distinct i) over (partition by s)", SqlError, "DISTINCT"),
        ("rank() over (partition by s)", SqlError, "ORDER BY"),
        ("* AS n", UnsupportedSqlError, "write count"),
        ("struct(t.*)", UnsupportedSqlError, "write count"),
    ],
)
def test_refused_in_one_sentence(expression: str, kind: type[SqlError], part: str) -> None:
    with pytest.raises(kind) as caught:
        analyze(f"SELECT {expression} FROM t", TABLE)
    assert part in str(caught.value)
    assert caught.value.problems[0].offset is not None


def test_all_faults_of_an_expression_at_once() -> None:
    with pytest.raises(SqlError) as caught:
        analyze("SELECT concat(nope, uper(s), other) FROM t", TABLE)
    assert len(caught.value.problems) == 3


def test_what_is_said_of_an_interval_that_is_no_constant_can_be_typed() -> None:
    with pytest.raises(UnsupportedSqlError) as told:
        analyze("SELECT d + INTERVAL i DAYS AS x FROM t", TABLE)
    assert told.value.problems[0].hint == "write date_add(d, n), add_months(d, n) or timestampadd(HOUR, n, t)"
    analyze("SELECT date_add(d, i) AS a, add_months(d, i) AS b, timestampadd(HOUR, i, ts) AS c FROM t", TABLE)
