"""The names of unnamed columns, literal kinds and defaults included."""

from __future__ import annotations

from tests.conformance.cases import cases

CASES = cases(
    """
SELECT n + 1, n - 1, n * 2, n / 2, n % 2, n div 2, -n, +n, ~n, n & 1, n | 1, n ^ 1 FROM people
SELECT n = 1, n <> 1, n < 1, n >= 1, n <=> 1, n IS NULL, n IS NOT NULL, NOT ok, ok AND n > 1, ok OR n > 1 FROM people
SELECT n IN (1, 2), n BETWEEN 1 AND 2, name LIKE 'a%', name RLIKE 'a', name NOT LIKE 'b', n NOT IN (3) FROM people
SELECT CASE WHEN n > 1 THEN 'a' ELSE 'b' END, if(ok, 1, 2), coalesce(n, 0), nullif(n, 1), nvl(n, 0) FROM people
SELECT CAST(n AS STRING), CAST(n + 1 AS STRING), CAST(d AS DECIMAL(12,3)), CAST(n AS DOUBLE) + 1 FROM people
SELECT round(x), round(x, 1), ceil(x), floor(x), sqrt(n), power(n, 2), exp(n), ln(n), log10(n), abs(n) FROM people
SELECT substring(name, 2), substring(name, 1, 2), lpad(name, 3), replace(name, 'a'), concat(name, 'x'), name || 'x' FROM people
SELECT upper(name), length(name), trim(name), split(name, 'n'), regexp_replace(name, 'a', 'b'), locate('n', name) FROM people
SELECT year(born), date_add(born, 1), datediff(born, born), to_date(name), date_trunc('MONTH', seen) FROM people
SELECT count(*), count(n), count(DISTINCT n), sum(n) FILTER (WHERE ok), max(n) + 1, avg(n), mean(n) FROM people
SELECT collect_list(n), stddev(n), variance(n), count_if(ok), max_by(n, n), bool_and(ok), some(ok) FROM people WHERE id = 1
SELECT lag(n) OVER (ORDER BY id), lead(n, 2, 0) OVER (ORDER BY id), ntile(2) OVER (ORDER BY id) FROM people WHERE id = 1
SELECT sum(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING), rank() OVER (ORDER BY id DESC) FROM people WHERE id = 1
SELECT s.a + 1, s.a, xs[0], m['a'], size(xs), transform(xs, v -> v + 1) FROM nested
SELECT 1.10, 1e10, 1.0E-4D, -5, 'it''s', TRUE, NULL, 10000000000, DATE'2024-01-01', TIMESTAMP'2024-01-01 10:00:00.5'
SELECT (SELECT 1), id IN (SELECT id FROM orders) FROM people
SELECT named_struct('a', n), struct(n, x), array(n, 1), array(1, 2)[0] FROM people
""",
    approx=True,
)
