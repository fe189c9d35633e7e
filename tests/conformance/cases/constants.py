"""Arguments that are constant: NULL, of odd kinds, computed; and constants where rows are wanted."""

from __future__ import annotations

from tests.conformance.cases import Case, cases

_ANSWERED = cases(
    """
SELECT split_part(name, NULL, 1) AS a, split_part(name, 'n', NULL) AS b, substring_index(name, 'n', NULL) AS c, translate(name, NULL, 'x') AS d, replace(name, NULL, 'x') AS e, replace(name, 'a', NULL) AS f, name LIKE NULL AS g, name RLIKE NULL AS h, regexp_extract(name, NULL, 1) AS i, regexp_extract(name, 'n', NULL) AS j, regexp_replace(name, 'n', NULL) AS k, split(name, NULL) AS l, split(name, 'n', NULL) AS m, regexp_count(name, NULL) AS o FROM people
SELECT date_format(seen, NULL) AS a, to_date(name, NULL) AS b, to_timestamp(name, NULL) AS c, unix_timestamp(name, NULL) AS d, from_unixtime(n, NULL) AS e, trunc(born, NULL) AS f, date_trunc(NULL, seen) AS g, next_day(born, NULL) AS h, from_utc_timestamp(seen, NULL) AS i, months_between(born, born, NULL) AS j, round(d, NULL) AS k, round(n + d, NULL) AS l, bround(x, NULL) AS m, round(n, NULL) AS o, sha2(name, NULL) AS p, sha2(name, 7) AS q, array_join(array(name), ',', NULL) AS r, overlay(name, 'x', 1, NULL) AS s FROM people
SELECT split_part(name, 'n', 1 + 1) AS a, substring_index(name, lower('N'), cast('1' AS int)) AS b, round(d, 2 - 1) AS c, name LIKE concat('a', '%') AS e, date_trunc(concat('mo', 'nth'), seen) AS f, sha2(name, 2 * 128) AS g, regexp_extract(name, concat('(n)', ''), if(true, 1, 0)) AS h, date_add(born, '3') AS j, months_between(born, DATE'2020-02-01', 1 > 2) AS k FROM people
SELECT split_part(name, ',', 1 + 1), round(d, cast('1' AS int)), date_add(born, 1 + 1), lag(n, 1 + 1) OVER (ORDER BY id) FROM people
SELECT count(1 + 1) AS a, count('a' || 'b', n) AS b, count(DISTINCT 1 + 1) AS c, max_by('x', id) AS e, min_by(1 + 1, id) AS f, first('x') AS g, collect_list(1 + 1) AS h, count(if(false, n, 3)) AS i, percentile(n, 1 / 4) AS j, corr(id, 2) AS k FROM people
SELECT grp, count(1 + 1) AS a, count('a' || 'b') AS b, max_by('x', id) AS e FROM people GROUP BY grp
SELECT id, sum(n) OVER (ORDER BY 1) AS a, count(1 + 1) OVER (ORDER BY id) AS b, lead('x', 1 + 1, 'y') OVER (ORDER BY id) AS c, rank() OVER (ORDER BY 'a' || 'b') AS e, dense_rank() OVER (ORDER BY 1 + 1) AS f, ntile(1 + 1) OVER (ORDER BY id) AS g, nth_value(4, 1 + 1) OVER (ORDER BY id) AS h, sum(n) OVER (PARTITION BY 1 ORDER BY id ROWS BETWEEN 1 + 1 PRECEDING AND CURRENT ROW) AS i FROM people
SELECT id, count(*) OVER (ORDER BY n NULLS LAST RANGE BETWEEN 20 PRECEDING AND 1 PRECEDING) AS a, sum(id) OVER (ORDER BY n DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 10 FOLLOWING) AS b, count(*) OVER (ORDER BY n RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS c FROM people
SELECT max(array(id, n)) AS a, min(array(n, id)) AS b, max_by(id, array(n, x)) AS c, min_by(id, struct(n, id)) AS d, max(struct(x, array(n))) AS e, min(named_struct('x', x, 'n', n)) AS f, max(array(id)) FILTER (WHERE id < 0) AS g FROM people
SELECT grp, max(array(n, id)) AS a, min(struct(x, id)) AS b, max_by(id, array(x, id)) AS c, min_by(id, array(x, id)) AS d FROM people GROUP BY grp
SELECT max_by(id, ok) AS a, min_by(id, x) AS b, max_by(id, x) AS c, sort_array(collect_set(x + x)) AS d FROM people WHERE id > 0
SELECT cast(1.5 AS float) % n AS a, pmod(n, cast(1.5 AS float)) AS b, n & NULL AS c, NULL ^ NULL AS e, ~NULL AS f, avg(cast(d AS decimal(38,18))) OVER (PARTITION BY id) AS g FROM people
SELECT NOT NULL AS a, NULL AND ok AS b, NULL OR ok AS c, if(NULL, 1, 2) AS d, CASE NULL WHEN 1 THEN 1 ELSE 2 END AS e, CASE WHEN cast(NULL AS boolean) THEN 1 ELSE 2 END AS f, filter(array(n), v -> NULL) AS g FROM people
SELECT grp FROM people GROUP BY grp HAVING NULL
SELECT id FROM people WHERE NULL OR n > 5
SELECT p.id, o.oid FROM people p JOIN orders o ON p.id = o.id AND p.id = o.id AND p.id <=> o.id
"""
)

_CUT = cases(
    """
SELECT id FROM people ORDER BY id LIMIT 1 + 1
SELECT id FROM people ORDER BY id LIMIT length('abc') OFFSET cast('1' AS int)
""",
    ordered=True,
)

_REFUSED = cases(
    """
SELECT CASE WHEN NULL THEN 1 ELSE 2 END
SELECT count(*) FILTER (WHERE NULL) FROM people
SELECT id FROM people WHERE NULL
SELECT p.id FROM people p JOIN orders o ON NULL
SELECT id FROM people LIMIT 1 - 2
SELECT id FROM people LIMIT 2Y
SELECT id FROM people LIMIT id
SELECT first(n, 1 = 1) FROM people
SELECT first(n, NULL) FROM people
SELECT percentile(n, NULL) FROM people
SELECT nth_value(n, NULL) OVER (ORDER BY id) FROM people
SELECT ntile('2') OVER (ORDER BY id) FROM people
SELECT sum(n) OVER (ORDER BY id ROWS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM people
SELECT sum(n) OVER (ORDER BY id ROWS BETWEEN 1L PRECEDING AND CURRENT ROW) FROM people
SELECT d & n FROM people
SELECT n ^ name FROM people
SELECT ~name FROM people
SELECT unix_timestamp(n) FROM people
SELECT unix_seconds(name) FROM people
SELECT unix_date(seen) FROM people
SELECT timestamp_millis(x) FROM people
SELECT to_timestamp(n, 'yyyy') FROM people
SELECT date_add(born, name) FROM people
SELECT date_add(born, 1.5) FROM people
SELECT map_contains_key(m, 1) FROM nested
SELECT element_at(m, 1) FROM nested
SELECT element_at(xs, '1') FROM nested
SELECT element_at(xs, NULL) FROM nested
SELECT array_contains(xs, NULL) FROM nested
SELECT array_except(NULL, xs) FROM nested
SELECT array_position(xs, 1.5) FROM nested
SELECT array_join(names, 1) FROM nested
SELECT sort_array(xs, NOT true) FROM nested
SELECT named_struct(cast(NULL AS string), 1)
SELECT overlay(name, X'41', 1) FROM people
""",
    both_refuse=True,
)

_ACROSS_SUMMER_TIME = (
    Case(
        "SELECT seen - INTERVAL 1 DAY AS a, seen + INTERVAL 1 DAY AS b, seen - INTERVAL 25 HOURS AS c, "
        "TIMESTAMP'2024-03-31 12:00:00' - INTERVAL 1 DAY AS d, TIMESTAMP'2024-10-27 12:00:00' - INTERVAL "
        "'1 03' DAY TO HOUR AS e, TIMESTAMP'2024-03-30 02:30:00' + INTERVAL 1 DAY AS f FROM people",
        time_zone="Europe/Berlin",
    ),
    Case(
        "SELECT seen - TIMESTAMP'2023-07-01 00:00:00' AS a, seen - born AS b, "
        "timestampdiff(HOUR, TIMESTAMP'2023-07-01 00:00:00', seen) AS c, timestampdiff(DAY, born, seen) AS d, "
        "unix_timestamp(TIMESTAMP_NTZ'2023-07-01 00:00:00') AS e FROM people",
        time_zone="Europe/Berlin",
    ),
    Case(
        "SELECT t + INTERVAL 0 DAYS AS a, t - INTERVAL 1 DAY AS b, t + INTERVAL 1 DAY AS c, t + INTERVAL 1 MONTH "
        "AS d, timestampadd(DAY, -1, t) AS e, timestampadd(YEAR, 0, t) AS f FROM (SELECT explode(array("
        "TIMESTAMP'2024-10-27 00:30:00Z', TIMESTAMP'2024-10-27 01:30:00Z', TIMESTAMP'2024-10-28 01:30:00Z', "
        "TIMESTAMP'2024-10-26 00:30:00Z', TIMESTAMP'2024-09-27 00:30:00Z', TIMESTAMP'2024-03-30 01:30:00Z')) AS t)",
        time_zone="Europe/Berlin",
    ),
)

CASES = (*_ANSWERED, *_CUT, *_REFUSED, *_ACROSS_SUMMER_TIME)
