"""What random expressions and queries found to differ, each made small."""

from __future__ import annotations

from tests.conformance.cases import Case, cases

_NUMBERS = cases("""
SELECT id, cast(id AS float) / 16777217L AS a, cast(n AS float) / cast(16777217 AS int) AS b, n / cast(x AS float) AS c FROM people
SELECT id, cast(cast(x + 0.1D AS float) AS decimal(38,18)) AS a, cast(cast(0.1 AS float) AS decimal(20,12)) AS b FROM people
SELECT cast(cast(id + 16777216 AS float) AS double) AS a, cast(n + 16777217L AS float) + x AS b, cast(cast(16777217 AS float) AS double) AS c FROM people
SELECT 5Y % d AS a, 5 % d AS b, 5S + d AS c, 5Y * d AS e FROM people
SELECT grp, avg(cast(d AS decimal(38,18))) AS a, avg(cast(n AS decimal(38,0)) / 3) AS b, avg(cast(d AS decimal(38,30))) AS c FROM people GROUP BY grp
SELECT id, d / cast(n - n AS decimal(38,38)) AS a, d / cast(n / 1000 AS decimal(38,38)) AS b FROM people
""")

# NULL by its type: as many rows as there are, though nothing of a row is looked at.
_NOTHING = cases("""
SELECT cast(born AS int) FROM people
SELECT split(NULL, 'x')[k] FROM nested
SELECT element_at(cast(NULL AS array<int>), k) AS a FROM nested
SELECT xs[NULL] AS a, cast(NULL AS array<int>)[0] AS b FROM nested
SELECT cast(born AS decimal(10,2)) FROM people
SELECT cast(cast(seen AS date) AS boolean) FROM people
SELECT z + 1.5 FROM (SELECT NULL AS z FROM people)
SELECT d FROM people UNION ALL SELECT NULL FROM orders
SELECT cast(born AS int) AS k, count(*) AS c FROM people GROUP BY cast(born AS int)
""")

_TIMES = cases("""
SELECT id, to_timestamp(n) AS a, to_timestamp(x) AS b, to_timestamp(d) AS c, to_timestamp(id) AS e FROM people
SELECT born + ('1990-02-01' - born) AS a, born + (nullif(name, 'ann') - born) AS b FROM people
SELECT months_between(seen, TIMESTAMP'1970-01-01 00:00:00.5', false) AS a FROM people
SELECT unix_timestamp(seen - INTERVAL '0.5' SECOND) AS a, unix_timestamp('1969-12-31 23:59:59.5', 'yyyy-MM-dd HH:mm:ss.SSS') AS b, unix_seconds(TIMESTAMP'1969-12-31 23:59:59.5') AS c FROM people
SELECT next_day(born, 'tues') AS a, next_day(born, 'Tue') AS b, next_day(born, 'tuesday') AS c, next_day(born, ' MO ') AS e FROM people
SELECT datediff(DAY, born, seen), date_add(MONTH, 1, seen), datediff(MINUTE, seen, born), date_add(born, 1), datediff(seen, born) FROM people
""")

_NESTED = cases("""
SELECT k, CASE WHEN k > 2 THEN named_struct('a', 1, 'b', struct(2 AS c)) END AS s FROM nested
SELECT k, array(CASE WHEN k > 2 THEN named_struct('a', 1) END) AS xs, nullif(s, s) AS s FROM nested
SELECT array() AS a, array_compact(array()) AS b, struct(array() AS c) AS d FROM nested
SELECT k, array_max(array(xs, array(k))) AS a, array_min(array(xs, array(k))) AS b, array_min(items) AS c, array_max(items) AS d FROM nested
SELECT struct((k), 1, (s.a)) AS st FROM nested
""")

# Lines that end: Java's $ stands before the last end too, and its dot takes none of them.
_LINES = tuple(
    Case(sql)
    for sql in (
        r"SELECT concat(name, '\n') RLIKE 'n$', concat(name, '\r\n') RLIKE '^ann$', concat(name, '\n\n') RLIKE 'n$' FROM people",
        r"SELECT 'a\rb' RLIKE 'a.b', 'a\u0085b' RLIKE 'a.b', 'a\u2028b' RLIKE '(?s)a.b', 'a\nb' RLIKE '(?m)^b$' FROM people",
        r"SELECT regexp_replace('a\rb\nc\u2029d', '.', 'x') AS a, regexp_extract('a\rb', '.*', 0) AS b FROM people",
        r"SELECT regexp_extract(concat(name, '\n'), '[a-z]+$', 0) AS a, regexp_extract(concat(name, '\r'), '(n)n$', 1) AS b FROM people",
        r"SELECT regexp_replace(concat(' ', name, ' \n'), '^\\s+|\\s+$', '') AS a, regexp_replace('a\n', 'a$', 'x') AS b FROM people",
        r"SELECT regexp_replace('x abc\n', 'c$|(x)', '<$1>') AS a, regexp_replace('abc\r\n', '(b)(c)$', '$2$1') AS b FROM people",
        # A ? behind what begins a group says nothing about the kind of the group.
        r"SELECT concat(name, '\n') RLIKE '(\\d?n)$', regexp_extract(name, '([aeiou]?n)', 1) AS a, regexp_replace(concat(name, '\n'), '([aeiou]?n)$', '<$1>') AS b FROM people",
        r"SELECT regexp_count('abc\n', 'c$') AS a, 'É' RLIKE '(?iu)é' AS b, 'K' RLIKE '(?i)k' AS c FROM people",
    )
)

# What is done to the items of a list, beneath first() and last().
_FIRSTS = cases("""
SELECT k, first(transform(xs, v -> v + 1)) AS a, last(transform(names, v -> upper(v))) AS b, any_value(cast(xs AS array<string>)) AS c, first(items.p) AS d FROM nested GROUP BY k
SELECT id, first(initcap('the quick fox')) AS a, last(initcap(concat('of ', name))) AS b FROM people GROUP BY id
SELECT k, first_value(transform(xs, v -> v + 1)) OVER (ORDER BY k) AS a, last_value(transform(xs, v -> v * 2)) OVER (ORDER BY k) AS b, nth_value(sort_array(xs), 1) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS c FROM nested
SELECT count(*) FILTER (WHERE true) AS a, count(*) FILTER (WHERE 1 > 2) AS b, first(1) FILTER (WHERE true) AS c, count(*) FILTER (WHERE true) + 1 AS d FROM people
SELECT grp, count(*) FILTER (WHERE true) AS a FROM people GROUP BY grp
""")

_TEXTS = cases("""
SELECT replace(name, '', grp) AS a, replace(name, 'n', grp) AS b FROM people
SELECT lower(upper(concat(name, 'ß'))) AS a, upper(lower(concat(name, 'İ'))) AS b, lower(upper('ß')) AS c FROM people
""")

# NULL is at an end of its partition, however far the bound of a RANGE goes.
_FRAMES = cases("""
SELECT oid, sum(qty) OVER (ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 3 DAYS FOLLOWING) AS a, count(*) OVER (ORDER BY day DESC RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS b FROM orders
SELECT oid, count(*) OVER (ORDER BY qty RANGE BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS a, count(*) OVER (ORDER BY qty DESC RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS b, count(*) OVER (ORDER BY price NULLS LAST RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS c FROM orders
SELECT v, count(*) OVER (ORDER BY v RANGE BETWEEN CURRENT ROW AND 1 FOLLOWING) AS a, count(*) OVER (ORDER BY v DESC RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS b FROM VALUES (-9223372036854775808L), (0L), (1L), (NULL) AS t(v)
SELECT id, var_pop(n) OVER (ORDER BY id DESC ROWS BETWEEN CURRENT ROW AND CURRENT ROW) AS a, stddev_pop(x) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND CURRENT ROW) AS b FROM people
SELECT id, stddev_pop(n) FILTER (WHERE n > 100) AS a, variance(n) AS b FROM people GROUP BY ROLLUP (id)
""")

_SUBQUERIES = cases("""
SELECT p.id FROM people p WHERE p.id IN (SELECT o.id FROM orders o WHERE o.id <= p.n)
SELECT p.id, p.id IN (SELECT o.id FROM orders o WHERE o.id <=> p.n / 10) AS a FROM people p
SELECT p.id FROM people p WHERE (p.id, p.n) IN (SELECT o.id, o.id * 10 FROM orders o WHERE o.id = p.id)
""")

_REFUSED = cases(
    """
SELECT seen - '2020-01-01' FROM people
SELECT name + INTERVAL 1 MONTH FROM people
SELECT median(n) OVER (PARTITION BY grp ORDER BY id) FROM people
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) OVER (PARTITION BY grp ORDER BY id) FROM people
SELECT count(*) OVER (ORDER BY born RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW) FROM people
""",
    both_refuse=True,
)

CASES = (
    *_NUMBERS,
    *_NOTHING,
    *_TIMES,
    *_NESTED,
    *_LINES,
    *_FIRSTS,
    *_TEXTS,
    *_FRAMES,
    *_SUBQUERIES,
    *_REFUSED,
)
