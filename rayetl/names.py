"""Column names that rayetl adds to rows in flight. User columns may not start with the prefix."""

from __future__ import annotations

PREFIX = "_rayetl_"

ROW = PREFIX + "row"
"""BIGINT: where a row came from, `file index << ROW_BITS | row number in that file`, both from 0."""

BAD = PREFIX + "bad"
"""STRING: why a source record could not be read as promised; NULL for a good one."""

RECORD = PREFIX + "record"
"""BINARY: a source record as it was read, or a row as JSON."""

ROW_BITS = 40
