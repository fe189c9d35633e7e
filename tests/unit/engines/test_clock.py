"""Spark is asked with the time of the run in the place of its clock, and nothing else is taken for the clock."""

from __future__ import annotations

import pytest

from rayetl import sql
from rayetl.engines.spark.clock import stopped
from rayetl.sql.parse import parse_query

TODAY = "CAST(timestamp_micros(5) AS DATE)"


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("SELECT current_date, curdate FROM t", f"SELECT {TODAY}, curdate FROM t"),
        (
            "SELECT current_date AS current_date FROM t WHERE current_date > d",
            f"SELECT {TODAY} AS current_date FROM t WHERE {TODAY} > d",
        ),
        *(
            (query, query)
            for query in (
                "SELECT t.current_date FROM t",
                "WITH c AS ( SELECT a AS current_date FROM t ) SELECT current_date FROM c",
                "SELECT current_date FROM ( SELECT a AS current_date FROM t ) AS c",
                "SELECT current_date FROM VALUES (1) AS v(current_date)",
                "SELECT current_date FROM t LATERAL VIEW explode(b) e AS current_date",
                "SELECT a AS current_date FROM t ORDER BY current_date",
            )
        ),
    ],
)
def test_a_column_that_is_called_like_the_clock_is_no_clock(query: str, asked: str) -> None:
    assert " ".join(sql.render(stopped(parse_query(query), 5, ())).split()) == asked
