"""The judge: real PySpark, local, and the comparison of its answers with ours."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayetl.cluster.spark_conf import STACK

_CONF = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": f"-Xss{STACK}",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.default.parallelism": "1",
    "spark.sql.files.maxPartitionNum": "1",
    "spark.ui.showConsoleProgress": "false",
}


@dataclass(frozen=True)
class Answer:
    """A result: column names and types as Spark spells them, and plain rows."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Judge:
    """A Spark session with the shared tables; `ask` runs a query."""

    def __init__(self, folder: Path, tables: dict[str, pa.Table]) -> None:
        os.environ["TZ"] = "UTC"
        time.tzset()
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[2]").appName("judge")
        for key, value in _CONF.items():
            builder = builder.config(key, value)
        self.spark = builder.getOrCreate()
        self.spark.sparkContext.setLogLevel("OFF")
        for name, table in tables.items():
            path = str(folder / f"{name}.parquet")
            pq.write_table(table, path, version="2.6", coerce_timestamps="us")
            self.spark.read.parquet(path).createOrReplaceTempView(name)

    def ask(self, sql: str, time_zone: str = "UTC") -> Answer:
        """The answer of Spark; raises what Spark raises."""
        self.spark.conf.set("spark.sql.session.timeZone", time_zone)
        frame = self.spark.sql(sql)
        types = tuple(field.dataType.simpleString() for field in frame.schema)
        return Answer(tuple(frame.schema.names), types, [tuple(map(plain, row)) for row in frame.collect()])

    def stop(self) -> None:
        self.spark.stop()


def of_arrow(table: pa.Table) -> Answer:
    """Our result in the judge's terms."""
    from rayetl.sql.interop import from_arrow

    schema = from_arrow(table.schema)
    columns = [[plain(_map(value, column.type)) for value in column.to_pylist()] for column in table.columns]
    rows = list(zip(*columns, strict=True)) if columns else []
    return Answer(schema.names, tuple(str(field.type) for field in schema), rows)


def _map(value: Any, kind: Any) -> Any:
    """Arrow gives a map as pairs; make it what Spark gives: a dict. Structs become tuples."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {_map(k, kind.key_type): _map(v, kind.item_type) for k, v in value}
    if pa.types.is_struct(kind):
        return tuple(_map(value[field.name], field.type) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_map(item, kind.value_type) for item in value]
    return value


def plain(value: Any) -> Any:
    """A value without the wrappers of either side; equal when Spark would call them the same."""
    from pyspark.sql import Row

    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, Decimal):
        return f"decimal {value:f}"
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Row | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return sorted(((plain(key), plain(item)) for key, item in value.items()), key=repr)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def differences(ours: Answer, theirs: Answer, *, ordered: bool, approx: bool) -> list[str]:
    """What differs between two answers, in words; empty when they agree."""
    found = []
    if ours.names != theirs.names:
        found.append(f"names: {ours.names} instead of {theirs.names}")
    if ours.types != theirs.types:
        found.append(f"types: {ours.types} instead of {theirs.types}")
    mine, yours = ours.rows, theirs.rows
    if not ordered:
        mine, yours = sorted(mine, key=repr), sorted(yours, key=repr)
    if len(mine) != len(yours) or not all(same(a, b, approx) for a, b in zip(mine, yours, strict=True)):
        wrong = [(a, b) for a, b in zip(mine, yours, strict=False) if not same(a, b, approx)][:3]
        found.append(f"rows ({len(mine)} and {len(yours)}), ours and Spark's: {wrong}")
    return found


def same(ours: Any, theirs: Any, approx: bool) -> bool:
    """Equal, or for `approx` equal to 12 digits."""
    if isinstance(ours, tuple | list) and isinstance(theirs, tuple | list):
        return len(ours) == len(theirs) and all(same(a, b, approx) for a, b in zip(ours, theirs, strict=True))
    if ours == theirs or not approx:
        return type(ours) is type(theirs) and ours == theirs
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-12, abs_tol=1e-300)
    except (TypeError, ValueError):
        return False
