"""A Spark in a process of its own, with Iceberg's jar: another writer of tables. It answers one statement after
the other; in the process of the tests it could not be, where the session of the judge may live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

JARS = ("iceberg-1.9.2", "s3a-3.3.4")


class SparkSql:
    """The process. Its catalog `lake` is a hadoop catalog in the directory `warehouse`, or at that address of the
    S3 service that `s3a` says how to reach; what it says of its work goes into the file `log`."""

    def __init__(self, warehouse: Path | str, log: Path, s3a: Mapping[str, str] | None = None) -> None:
        if not all(map(Path.is_dir, _jars())):
            from services.base import install

            install()
        self.log = log
        jars = ",".join(str(jar) for directory in _jars() for jar in sorted(directory.glob("*.jar")))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(warehouse), jars, json.dumps(dict(s3a or {}))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("ab"),
            text=True,
        )

    def ask(self, statement: str) -> list[list[Any]]:
        """The rows of the answer. Raises `RuntimeError` with what Spark says."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(statement) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"Spark died: {self.log.read_text()[-3000:]}"
        answer = json.loads(line)
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def _jars() -> list[Path]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [home / "rayetl" / name for name in JARS]


def _serve(warehouse: str, jars: str, s3a: str) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = {
        "spark.jars": jars,
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": warehouse,
        "spark.sql.catalog.lake.cache-enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    }
    settings |= {f"spark.hadoop.fs.s3a.{name}": value for name, value in json.loads(s3a).items()}
    builder = SparkSession.builder.master("local[1]").appName("other")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    for line in sys.stdin:
        try:
            answer: Any = [list(row) for row in spark.sql(json.loads(line)).collect()]
        except PySparkException as error:
            answer = str(error)
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()
    spark.stop()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
