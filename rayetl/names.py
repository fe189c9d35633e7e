"""Column names that rayetl adds to rows in flight. User columns may not start with the prefix."""

from __future__ import annotations

PREFIX = "_rayetl_"

ROW = PREFIX + "row"
"""BIGINT: where a row came from, `file index << ROW_BITS | row number in that file`, both from 0."""

BAD = PREFIX + "bad"
"""STRING: why a source record could not be read as promised; NULL for a good one."""

RULE = PREFIX + "rule"
"""STRING: for a row that a store refused, what it calls the rule, like an SQLSTATE; `BAD` has its words."""

FIELD = PREFIX + "field"
"""STRING: for a row that a store refused, the column it named, if it did."""

RECORD = PREFIX + "record"
"""BINARY: a source record as it was read, or a row as JSON."""

ROW_BITS = 40
