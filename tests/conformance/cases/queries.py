"""Queries as wholes: select lists, joins, groups, windows, set operations, subqueries, generators, pivots."""

from __future__ import annotations

from tests.conformance.cases import cases

_SELECT = cases("""
SELECT * FROM people
SELECT people.*, 1 AS one FROM people
SELECT id, ID, Id AS k FROM people
SELECT p.id, p.name AS `full name` FROM people p
SELECT id + n, n * 2, -n, d + 1 FROM people
SELECT 1, 'a', 2.50, NULL, TRUE, 1L, 1.5D, DATE'2024-01-31', 1e3
SELECT 1 FROM people
SELECT id FROM people WHERE n > 5 AND grp = 'b'
SELECT id FROM people WHERE x > 1
SELECT id FROM people WHERE NOT (n > 5)
SELECT id FROM people WHERE CAST(NULL AS BOOLEAN)
SELECT id + 1 AS z, z * 2 AS w FROM people
SELECT DISTINCT grp FROM people
SELECT DISTINCT x FROM people
SELECT DISTINCT grp, ok FROM people
SELECT k, s.a, s.b AS bb FROM nested
SELECT nested.s.a, s.* FROM nested
SELECT items.p, xs[0], m['a'] FROM nested
SELECT * FROM VALUES (1, 'a'), (2, NULL), (3L, 'c') AS v(i, s)
VALUES (1, 2.5), (3, 4)
WITH a AS (SELECT id, n FROM people), b AS (SELECT n + 1 AS n1 FROM a) SELECT a.id, b.n1 FROM a, b WHERE a.n < b.n1
SELECT q.total FROM (SELECT sum(n) AS total FROM people) q
SELECT * FROM (SELECT id AS a, n AS b FROM people) AS t(c, e)
SELECT count(*) FROM empty
SELECT * FROM empty
SELECT * FROM blanks
SELECT CASE WHEN n > 10 THEN 'big' WHEN n IS NULL THEN 'none' ELSE grp END AS size FROM people
""")

_CLOCK = cases("""
SELECT current_date, current_timestamp, now(), curdate(), localtimestamp(), unix_timestamp() FROM people WHERE false
SELECT id, current_timestamp > TIMESTAMP'2020-01-01' AS a, now() = current_timestamp() AS b FROM people
SELECT date(now()) = current_date AS a, localtimestamp() = CAST(now() AS TIMESTAMP_NTZ) AS b FROM people
SELECT unix_timestamp() = unix_seconds(now()) AS a, current_date() = curdate() AS b
SELECT count(*), current_date > DATE'2020-01-01' AS a FROM people GROUP BY current_date
SELECT max(current_date) > min(born) AS a, count(*) FROM people WHERE seen < current_timestamp
SELECT current_date, current_date() > DATE'2020-01-01' AS a FROM (SELECT 7 AS current_date)
SELECT id, CASE WHEN n > 10 THEN current_date END > DATE'2020-01-01' AS a FROM people ORDER BY now(), id
""")

_ORDER = cases(
    """
SELECT id, x FROM people ORDER BY x, id
SELECT id, x FROM people ORDER BY x DESC, id DESC
SELECT id FROM people ORDER BY grp NULLS LAST, n DESC NULLS FIRST
SELECT id AS k FROM people ORDER BY k DESC NULLS LAST
SELECT id, n FROM people ORDER BY 2, 1
SELECT id FROM people ORDER BY -n
SELECT grp, id FROM people ORDER BY ALL
SELECT name FROM people ORDER BY length(name), name
SELECT id FROM people ORDER BY id LIMIT 2
SELECT id FROM people ORDER BY id LIMIT 2 OFFSET 3
SELECT id FROM people ORDER BY id OFFSET 4
SELECT grp, count(*) AS c FROM people GROUP BY grp ORDER BY c DESC, grp
SELECT grp FROM people GROUP BY grp ORDER BY max(n) DESC NULLS LAST
SELECT DISTINCT grp FROM people ORDER BY grp DESC
SELECT id FROM people UNION ALL SELECT oid FROM orders ORDER BY id NULLS LAST LIMIT 4
SELECT n AS id, id AS z FROM people ORDER BY id
""",
    ordered=True,
)

_JOINS = cases("""
SELECT p.id, o.oid FROM people p JOIN orders o ON p.id = o.id
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id
SELECT p.id, o.oid FROM people p RIGHT JOIN orders o ON p.id = o.id
SELECT p.id, o.oid FROM people p FULL JOIN orders o ON p.id = o.id
SELECT p.id FROM people p LEFT SEMI JOIN orders o ON p.id = o.id
SELECT p.id FROM people p LEFT ANTI JOIN orders o ON p.id = o.id
SELECT p.id, o.oid FROM people p CROSS JOIN orders o WHERE p.n > 20
SELECT p.id, o.oid FROM people p, orders o WHERE p.id = o.id AND o.amount > 5
SELECT p.id, o.oid FROM people p JOIN orders o ON p.id <=> o.id
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id <=> o.id AND p.grp = o.grp
SELECT p.id, o.oid FROM people p FULL JOIN orders o ON p.id <=> o.id AND p.grp = o.grp
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id AND o.amount > 15
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id AND p.n > 15
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id AND p.n + o.qty > 12
SELECT p.id, o.oid FROM people p RIGHT JOIN orders o ON p.id = o.id AND p.n + o.qty > 12
SELECT p.id, o.oid FROM people p FULL JOIN orders o ON p.id = o.id AND p.n + o.qty > 12
SELECT p.id FROM people p LEFT SEMI JOIN orders o ON p.id = o.id AND p.n < o.amount
SELECT p.id FROM people p LEFT ANTI JOIN orders o ON p.id = o.id AND p.n < o.amount
SELECT p.id, o.oid FROM people p JOIN orders o ON p.n < o.amount
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.n < o.amount
SELECT a.id, b.id FROM people a JOIN people b ON a.x = b.x
SELECT a.id, b.id FROM people a JOIN people b ON a.d = b.d
SELECT p.id, o.oid FROM people p JOIN orders o ON p.d = o.price - 8.90
SELECT * FROM people JOIN orders USING (id)
SELECT * FROM people LEFT JOIN orders USING (id, grp)
SELECT * FROM people RIGHT JOIN orders USING (id)
SELECT * FROM people FULL JOIN orders USING (id)
SELECT id, people.id, orders.id FROM people FULL JOIN orders USING (id)
SELECT * FROM people NATURAL JOIN orders
SELECT * FROM people LEFT SEMI JOIN orders USING (id)
SELECT p.id, o.oid, q.oid FROM people p JOIN orders o ON p.id = o.id JOIN orders q ON q.grp = p.grp
SELECT p.id, o.oid, n.k FROM people p, orders o, nested n WHERE p.id = n.k AND o.id = n.k
SELECT p.id, o.oid FROM people p JOIN (SELECT * FROM orders WHERE amount > 0) o ON p.id = o.id
SELECT p.id FROM people p LEFT JOIN empty e ON p.id = e.id
SELECT e.id FROM empty e RIGHT JOIN orders o ON e.id = o.id
""")

_GROUPS = cases(
    """
SELECT grp, count(*), count(n), sum(n), min(n), max(n), avg(n) FROM people GROUP BY grp
SELECT grp, sum(x), avg(x), min(x), max(x) FROM people GROUP BY grp
SELECT grp, sum(d), avg(d), min(d), max(d) FROM people GROUP BY grp
SELECT x, count(*) FROM people GROUP BY x
SELECT count(*), count(1), sum(n), max(name) FROM empty
SELECT grp, count(*) FROM empty GROUP BY grp
SELECT sum(i), max(s), avg(f), sum(d), count(t), min(t) FROM blanks
SELECT i, count(*) FROM blanks GROUP BY i
SELECT count(DISTINCT grp), count(DISTINCT grp, ok), sum(DISTINCT n) FROM people
SELECT grp, count(*) FILTER (WHERE n > 15) AS big, sum(n) FILTER (WHERE ok) FROM people GROUP BY grp
SELECT grp AS g, count(*) AS c FROM people GROUP BY g
SELECT grp, n % 2, count(*) FROM people GROUP BY grp, n % 2
SELECT upper(grp), count(*) FROM people GROUP BY upper(grp)
SELECT grp, ok, count(*) FROM people GROUP BY 1, 2
SELECT grp, ok, count(*) FROM people GROUP BY ALL
SELECT grp FROM people GROUP BY grp HAVING count(*) > 1
SELECT grp, sum(n) AS s FROM people GROUP BY grp HAVING s > 20
SELECT max(n) - min(n) AS spread, count(*) + 1 FROM people
SELECT grp, sum(n) / count(*) FROM people GROUP BY grp
SELECT grp, ok, sum(n) FROM people GROUP BY ROLLUP (grp, ok)
SELECT grp, ok, sum(n) FROM people GROUP BY CUBE (grp, ok)
SELECT grp, ok, sum(n) FROM people GROUP BY GROUPING SETS ((grp, ok), (grp), ())
SELECT grp, ok, sum(n) FROM people GROUP BY grp, ok WITH ROLLUP
SELECT grp, ok, grouping(grp), grouping(ok) AS o, grouping_id(), sum(n) FROM people GROUP BY ROLLUP (grp, ok)
SELECT grp, grouping_id(grp, ok) AS level, count(*) FROM people GROUP BY CUBE (grp, ok)
SELECT grp, n % 2, grouping(n % 2) + 1 FROM people GROUP BY GROUPING SETS ((grp), (n % 2), (grp, n % 2), (grp))
SELECT grp, count(*) FROM people GROUP BY grp WITH ROLLUP HAVING grouping(grp) = 0 AND grouping_id() < 1
SELECT grp, rank() OVER (PARTITION BY grouping(grp) ORDER BY sum(n)) FROM people GROUP BY ROLLUP (grp)
SELECT CASE WHEN grouping(grp) = 1 THEN 'all' ELSE grp END AS g, max(n) FROM people GROUP BY CUBE (grp)
SELECT day, sum(price) FROM orders GROUP BY day
SELECT grp FROM people GROUP BY grp
SELECT max(n) FROM people HAVING max(n) > 100
SELECT s, count(*) FROM nested GROUP BY s
""",
    approx=True,
)

_WINDOWS = cases(
    """
SELECT oid, row_number() OVER (PARTITION BY grp ORDER BY oid) AS rn FROM orders
SELECT oid, rank() OVER (ORDER BY day) AS r, dense_rank() OVER (ORDER BY day) AS dr FROM orders
SELECT oid, percent_rank() OVER (ORDER BY day) AS pr, cume_dist() OVER (ORDER BY day) AS cd FROM orders
SELECT oid, ntile(3) OVER (ORDER BY oid) AS t, ntile(9) OVER (ORDER BY oid) AS u FROM orders
SELECT oid, lag(amount) OVER (ORDER BY oid) AS a, lead(amount, 2) OVER (ORDER BY oid) AS b, lag(qty, 1, 0) OVER (PARTITION BY grp ORDER BY oid) AS c FROM orders
SELECT oid, sum(qty) OVER (PARTITION BY grp) AS s FROM orders
SELECT oid, sum(qty) OVER (ORDER BY day) AS s, count(*) OVER (ORDER BY day) AS c FROM orders
SELECT oid, sum(qty) OVER (ORDER BY oid ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM orders
SELECT oid, sum(qty) OVER (ORDER BY oid ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS s FROM orders
SELECT oid, avg(price) OVER (ORDER BY oid ROWS 2 PRECEDING) AS s FROM orders
SELECT oid, max(amount) OVER (PARTITION BY grp ORDER BY oid ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS s FROM orders
SELECT oid, count(*) OVER (ORDER BY qty RANGE BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM orders
SELECT oid, sum(qty) OVER (ORDER BY at RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) AS s FROM orders
SELECT oid, sum(qty) OVER (ORDER BY day RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) AS s FROM orders
SELECT oid, sum(qty) OVER (ORDER BY oid DESC RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS s FROM orders
SELECT oid, first_value(amount) OVER (PARTITION BY grp ORDER BY oid) AS f, last_value(amount) OVER (PARTITION BY grp ORDER BY oid) AS l FROM orders
SELECT oid, nth_value(amount, 2) OVER (ORDER BY oid) AS n2 FROM orders
SELECT oid, sum(sum(qty)) OVER (ORDER BY oid) AS s FROM orders GROUP BY oid
SELECT oid, rank() OVER w AS r, sum(qty) OVER w AS s FROM orders WINDOW w AS (PARTITION BY grp ORDER BY day)
SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY grp ORDER BY amount DESC, oid) AS rn FROM orders) WHERE rn = 1
SELECT oid, row_number() OVER (ORDER BY oid), sum(qty) OVER (PARTITION BY grp ORDER BY oid) FROM orders
SELECT oid, count(*) OVER () FROM orders
SELECT oid, sum(amount) OVER (PARTITION BY grp ORDER BY oid ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS s FROM orders
SELECT row_number() OVER (ORDER BY id) AS rn FROM empty
""",
    approx=True,
)

_SETS = cases("""
SELECT id FROM people UNION SELECT id FROM orders
SELECT id FROM people UNION ALL SELECT id FROM orders
SELECT grp FROM people INTERSECT SELECT grp FROM orders
SELECT grp FROM people INTERSECT ALL SELECT grp FROM orders
SELECT grp FROM people EXCEPT SELECT grp FROM orders
SELECT grp FROM orders EXCEPT ALL SELECT grp FROM people
SELECT grp FROM people MINUS SELECT grp FROM orders
SELECT n, d FROM people UNION ALL SELECT amount, price FROM orders
SELECT id, 'x' AS tag FROM people UNION ALL SELECT oid, NULL FROM orders
SELECT x FROM people UNION SELECT x FROM people
SELECT id FROM people UNION ALL SELECT id FROM people EXCEPT SELECT id FROM orders
(SELECT id FROM people ORDER BY id LIMIT 1) UNION ALL (SELECT oid FROM orders ORDER BY oid DESC LIMIT 1)
SELECT n FROM people UNION ALL SELECT price FROM orders
SELECT n FROM people UNION ALL SELECT grp FROM people
""")

_SUBQUERIES = cases("""
SELECT id FROM people WHERE id IN (SELECT id FROM orders)
SELECT id FROM people WHERE id NOT IN (SELECT id FROM orders)
SELECT id FROM people WHERE id NOT IN (SELECT id FROM orders WHERE id IS NOT NULL)
SELECT id FROM people WHERE id NOT IN (SELECT id FROM orders WHERE oid > 100)
SELECT id FROM people p WHERE EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id AND o.amount > 15)
SELECT id FROM people p WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id)
SELECT id FROM people WHERE EXISTS (SELECT 1 FROM empty)
SELECT id FROM people WHERE n > (SELECT avg(n) FROM people)
SELECT id, (SELECT max(amount) FROM orders) AS m FROM people
SELECT id, (SELECT count(*) FROM orders o WHERE o.id = p.id) AS c FROM people p
SELECT id, (SELECT sum(qty) FROM orders o WHERE o.id = p.id) AS c FROM people p
SELECT id FROM people p WHERE n > (SELECT sum(qty) FROM orders o WHERE o.id = p.id)
SELECT id FROM people WHERE (id, grp) IN (SELECT id, grp FROM orders)
SELECT id FROM people p WHERE id IN (SELECT id FROM orders o WHERE o.grp = p.grp)
SELECT id FROM people WHERE id IN (SELECT id FROM orders) OR n < 0
SELECT id FROM people WHERE id NOT IN (SELECT id FROM orders) OR n > 20
SELECT id, id NOT IN (SELECT id FROM orders) AS a, id NOT IN (SELECT oid FROM orders) AS b, (id IN (SELECT id FROM orders)) IS NULL AS c FROM people
SELECT id, id NOT IN (SELECT id FROM empty) AS a FROM people
SELECT id, EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id) AS e FROM people p
SELECT id, (SELECT n FROM empty) AS nothing FROM people
SELECT grp, count(*) FROM people GROUP BY grp HAVING count(*) > (SELECT 1)
SELECT p.id, o.oid FROM people p, orders o WHERE p.id = o.id AND EXISTS (SELECT 1 FROM orders q WHERE q.id = p.id AND q.oid <> o.oid) AND p.n > 0
SELECT p.id, o.oid FROM people p, orders o WHERE p.id = o.id AND NOT EXISTS (SELECT 1 FROM orders q WHERE q.id = p.id AND q.oid > o.oid)
SELECT id FROM people p WHERE (SELECT count(*) FROM orders o WHERE (o.id = p.id AND o.amount > 15) OR (o.id = p.id AND o.qty = 1)) > 0
SELECT id FROM people p WHERE EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id AND o.amount > 15 OR o.id = p.id)
SELECT p.id, o.oid FROM people p, orders o WHERE (p.id = o.id AND p.n > 10) OR (o.id = p.id AND o.qty = 1) OR (p.id = o.id AND p.n IS NULL)
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON (p.id = o.id AND o.qty > 1) OR (p.id = o.id AND p.ok)
SELECT n + id, count(*) FROM people GROUP BY id + n
SELECT id FROM people WHERE (ok AND n > 5) OR (ok AND x > 1) OR (n > 5 AND ok)
""")

_SHAPES = cases("""
SELECT k, v FROM nested LATERAL VIEW explode(xs) e AS v
SELECT items[0].q, nested.s.a, s.b, struct(1 AS y).y FROM nested
SELECT k, v FROM nested LATERAL VIEW OUTER explode(xs) e AS v
SELECT k, i, v FROM nested LATERAL VIEW posexplode(xs) e AS i, v
SELECT k, explode(xs) FROM nested
SELECT k, explode_outer(xs) AS v FROM nested
SELECT k, posexplode(names) FROM nested
SELECT k, explode(m) FROM nested
SELECT k, key, value FROM nested LATERAL VIEW OUTER explode(m) e AS key, value
SELECT k, inline(items) FROM nested
SELECT k, i.p FROM nested LATERAL VIEW explode(items) e AS i
SELECT k, stack(2, k, 'x', k + 1, 'y') AS (a, b) FROM nested
SELECT k, v, w FROM nested LATERAL VIEW explode(xs) e AS v LATERAL VIEW explode(names) f AS w
SELECT * FROM (SELECT grp, id, qty FROM orders) PIVOT (sum(qty) FOR grp IN ('a', 'b', 'z'))
SELECT * FROM (SELECT grp, day, qty FROM orders) PIVOT (sum(qty) AS s, count(*) AS c FOR grp IN ('a' AS aa, 'b'))
SELECT * FROM (SELECT id, n, CAST(d AS INT) AS m FROM people) UNPIVOT (v FOR c IN (n, m))
SELECT * FROM (SELECT id, n, CAST(d AS INT) AS m FROM people) UNPIVOT INCLUDE NULLS (v FOR c IN (n AS nn, m))
""")

_REFUSED = cases(
    """
SELECT nope FROM people
SELECT id FROM nowhere
SELECT id FROM people p JOIN orders o ON p.id = o.id
SELECT id, sum(n) FROM people
SELECT id, count(*) FROM people GROUP BY grp
SELECT id FROM people WHERE sum(n) > 1
SELECT id FROM people WHERE grp
SELECT id FROM people WHERE NULL
SELECT * EXCEPT (id) FROM people
SELECT id FROM people UNION SELECT id, oid FROM orders
SELECT id FROM people ORDER BY 3
SELECT DISTINCT id FROM people ORDER BY n
SELECT m, count(*) FROM nested GROUP BY m
SELECT foo(id) FROM people
SELECT id FORM people
SELECT sum(max(n)) FROM people
SELECT id FROM people WHERE id IN (SELECT id, oid FROM orders)
SELECT s.zz FROM nested
""",
    both_refuse=True,
)

_GROUPED_SUBQUERIES = cases(
    """
SELECT grp, max((SELECT max(o.oid) FROM orders o WHERE o.id = p.id)) AS m FROM people p GROUP BY grp
SELECT grp, max(n) + (SELECT max(oid) FROM orders) AS m FROM people p GROUP BY grp
SELECT id, count(*) FROM people p GROUP BY id HAVING (SELECT max(oid) FROM orders o WHERE o.id = p.id) > 0
SELECT (SELECT max(o.oid) FROM orders o WHERE o.id = p.id) AS m, count(*) AS c FROM people p GROUP BY (SELECT max(o.oid) FROM orders o WHERE o.id = p.id)
SELECT (SELECT max(o.oid) FROM orders o WHERE o.id = p.id) + 1 AS m, count(*) AS c FROM people p GROUP BY grp, (SELECT max(o.oid) FROM orders o WHERE o.id = p.id)
SELECT (SELECT max(oid) FROM orders) AS m, count(*) AS c FROM people GROUP BY (SELECT max(oid) FROM orders)
SELECT id, count(*) FROM people p GROUP BY id HAVING EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id)
SELECT id, count(*) FROM people p GROUP BY id HAVING id IN (SELECT o.id FROM orders o WHERE o.id = p.id)
"""
)

_UNGROUPED_SUBQUERIES = cases(
    """
SELECT grp FROM people p GROUP BY grp HAVING (SELECT max(oid) FROM orders o WHERE o.id = p.id) > 0
SELECT grp FROM people p GROUP BY grp HAVING EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id)
SELECT grp FROM people p GROUP BY grp HAVING grp IN (SELECT 'a' FROM orders o WHERE o.id = p.id)
SELECT grp, EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id) AS e FROM people p GROUP BY grp
SELECT grp FROM people p GROUP BY grp ORDER BY (SELECT max(oid) FROM orders o WHERE o.id = p.id)
""",
    both_refuse=True,
)

_MISPLACED = cases(
    """
SELECT id FROM people WHERE row_number() OVER (ORDER BY id) = 1
SELECT id FROM people WHERE NOT (rank() OVER (ORDER BY id) > 1)
SELECT id FROM people WHERE explode(array(true))
SELECT grp FROM people GROUP BY grp HAVING sum(count(*)) OVER () > 1
SELECT grp, rank() OVER (ORDER BY grp) AS r FROM people GROUP BY grp HAVING r = 1
SELECT grp FROM people GROUP BY grp HAVING explode(array(true))
SELECT 1 FROM people GROUP BY row_number() OVER (ORDER BY id)
SELECT row_number() OVER (ORDER BY id) AS r, count(*) FROM people GROUP BY r
SELECT sum(n) FROM people GROUP BY grp, sum(n)
SELECT sum(n) FROM people GROUP BY ()
SELECT p.id FROM people p JOIN orders o ON sum(p.n) = o.id
SELECT p.id FROM people p JOIN orders o ON row_number() OVER (ORDER BY p.id) = o.id
SELECT p.id FROM people p JOIN orders o ON explode(array(1)) = o.id
SELECT sum(row_number() OVER (ORDER BY id)) FROM people
SELECT sum(explode(array(1, 2))) FROM people
SELECT sum(n) FILTER (WHERE row_number() OVER (ORDER BY id) = 1) FROM people
SELECT sum(n) FILTER (WHERE sum(n) > 1) FROM people
SELECT count(*) FILTER (WHERE n > 0) OVER (PARTITION BY grp) FROM people
SELECT 1 + explode(array(1, 2)) FROM people
SELECT explode(explode(array(array(1, 2)))) FROM people
SELECT id FROM people ORDER BY row_number() OVER (ORDER BY id)
SELECT id, row_number() OVER (ORDER BY id) AS r FROM people ORDER BY row_number() OVER (ORDER BY id)
SELECT id FROM people ORDER BY explode(array(1, 2))
SELECT id FROM people UNION ALL SELECT id FROM orders ORDER BY sum(id)
SELECT id FROM people SORT BY nope
SELECT id FROM people DISTRIBUTE BY row_number() OVER (ORDER BY id)
SELECT id FROM people CLUSTER BY explode(array(1))
SELECT * FROM VALUES (sum(1))
SELECT * FROM VALUES (row_number() OVER (ORDER BY 1))
SELECT id FROM people LATERAL VIEW explode(array(sum(n))) t AS x
SELECT id FROM people LATERAL VIEW explode(array(row_number() OVER (ORDER BY id))) t AS x
SELECT transform(array(1), x -> row_number() OVER (ORDER BY x)) FROM people
SELECT id AS named, sum(named) OVER () AS s FROM people
SELECT id AS named, sum(n) OVER (ORDER BY named) AS s FROM people
SELECT grp, (SELECT max(o.oid) FROM orders o WHERE o.id = length(p.grp)) AS m FROM people p GROUP BY grp
SELECT row_number() FROM people
SELECT lag(n) FROM people
SELECT * FROM people PIVOT (sum(explode(array(n))) FOR grp IN ('a'))
SELECT id FROM people LIMIT 1L
SELECT name RLIKE '[a' FROM people
SELECT name RLIKE 'a**' FROM people
SELECT name RLIKE '\\\\y' FROM people
SELECT regexp_replace(name, '(a)', '$2') FROM people
SELECT regexp_replace(name, '(a)', 'x$') FROM people
SELECT split(name, '[') FROM people
SELECT sequence(1, 10, 0) FROM people
SELECT sequence(1, 10, -1) FROM people
SELECT slice(array(1, 2), 0, 1) FROM people
SELECT slice(array(1, 2), 1, -1) FROM people
SELECT sort_array(array(1, 2), NULL) FROM people
SELECT ntile(0) OVER (ORDER BY id) FROM people
SELECT nth_value(n, 0) OVER (ORDER BY id) FROM people
""",
    both_refuse=True,
)

_MADE_ROWS = cases(
    """
SELECT explode(array(2, 1)) AS x, id FROM people WHERE id > 1 ORDER BY x + 1, id
SELECT posexplode(array(5, 6)) AS (p, c), c + 1 AS d, id FROM people ORDER BY c, p, id
SELECT DISTINCT explode(array(2, 1)) AS x FROM people ORDER BY x
SELECT sum(n) FILTER (WHERE id IN (SELECT id FROM orders)) AS c FROM people GROUP BY grp ORDER BY c
SELECT explode(array(1, (SELECT max(id) FROM orders))) AS x, id FROM people ORDER BY x, id
""",
    ordered=True,
)

_ASKED_IN_JOINS = cases(
    """
SELECT p.id, o.oid FROM people p JOIN orders o ON p.id = o.id AND p.id IN (SELECT k FROM nested) AND o.id = (SELECT min(id) FROM orders)
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id AND p.id IN (SELECT id FROM orders WHERE id < 3)
SELECT p.id, o.oid FROM people p LEFT JOIN orders o ON p.id = o.id AND o.oid NOT IN (SELECT k FROM nested)
SELECT p.id, o.oid FROM people p FULL JOIN orders o ON p.id = o.id AND EXISTS (SELECT 1 FROM nested WHERE k > 3)
SELECT p.id FROM people p LEFT ANTI JOIN orders o ON p.id = o.id AND o.oid IN (SELECT k FROM nested)
SELECT a.g, o.oid FROM (SELECT DISTINCT grp AS g FROM people) a LEFT JOIN orders o ON a.g < o.grp
SELECT p.id FROM people p LEFT SEMI JOIN orders o ON cast(o.grp AS double) <=> p.x
SELECT p.id FROM people p LEFT ANTI JOIN orders o ON cast(o.grp AS double) = cast(p.grp AS double)
SELECT DISTINCT grp, (SELECT max(oid) FROM orders o WHERE o.id = p.id) AS m FROM people p ORDER BY 2, 1 LIMIT 9
SELECT explode(collect_list(n)) AS x FROM people WHERE id = 1
SELECT grp, explode(array(1, 2)) AS x, count(*) AS c FROM people GROUP BY grp
SELECT DISTINCT grp, posexplode(array(grp, 'z')) AS (p, v), sum(n) AS s FROM people GROUP BY grp
SELECT grp, explode(array(1, 2)) AS x FROM people GROUP BY grp ORDER BY x, grp
"""
)

CASES = (
    *_ASKED_IN_JOINS,
    *_SELECT,
    *_CLOCK,
    *_ORDER,
    *_JOINS,
    *_GROUPS,
    *_WINDOWS,
    *_SETS,
    *_SUBQUERIES,
    *_SHAPES,
    *_REFUSED,
    *_GROUPED_SUBQUERIES,
    *_UNGROUPED_SUBQUERIES,
    *_MISPLACED,
    *_MADE_ROWS,
)
