"""What Spark makes of queries that it alone can run: it is asked in a process of its own, before any run.

Only the analysis is asked for, over tables without rows, so a small local Spark does; the session on Ray,
which takes longer to start, is left for the run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from sqlglot import exp

from rayetl import sql
from rayetl.cluster.spark_conf import STACK
from rayetl.cluster.spark_machine import assert_installed, log_path
from rayetl.engines.spark.described import schema_of
from rayetl.engines.spark.session import MEANING, TIME_ZONE
from rayetl.errors import Problem, SqlError, Terminal
from rayetl.plan.build import Typed
from rayetl.quality.compile import ddl, quoted
from rayetl.records import dataclass
from rayetl.secrets.environment import withdraw
from rayetl.sql.types import Schema

_CONF = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "512m",
    "spark.driver.extraJavaOptions": f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xss{STACK}",
    **MEANING,
}
_known: dict[str, Schema] = {}
"""Answers by what was asked: a plan is built several times."""


@contextmanager
def asking() -> Iterator[Typed]:
    """What types queries, for as long as plans are built; Spark starts with the first query that is new."""
    spark = _Spark()
    try:
        yield spark.types
    except KeyboardInterrupt:
        spark.kill()
        raise
    finally:
        spark.stop()


@dataclass(slots=True)
class _Spark:
    """The process, once it has been started."""

    process: subprocess.Popen[str] | None = None

    def types(self, query: exp.Query, schemas: Mapping[str, Schema], time_zone: str) -> Schema:
        assert isinstance(query, exp.Expression)
        tables = {quoted(name): _columns(schema) for name, schema in schemas.items()}
        question = json.dumps([sql.render(query), tables, time_zone])
        if question not in _known:
            _known[question] = self._asked(question)
        return _known[question]

    def _asked(self, question: str) -> Schema:
        self.process = self.process or _started()
        questions, answers = self.process.stdin, self.process.stdout
        assert questions is not None
        assert answers is not None
        try:
            questions.write(question + "\n")
            questions.flush()
            answer = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            raise Terminal(
                "Spark, asked for the types of a query that it alone can run, ended without an answer",
                hint=f"see {log_path()}",
            ) from error
        if "refused" in answer:
            raise SqlError([Problem("sql.spark", f"Spark refuses the query: {answer['refused']}")])
        return schema_of(answer)

    def kill(self) -> None:
        """End it and its JVM at once, whatever they are at."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            # One that is dead does not listen any more.
            with suppress(OSError):
                self.process.stdin.close()
            self.process.wait()


def _columns(schema: Schema) -> str:
    return ", ".join(
        f"{quoted(field.name)} {ddl(field.type)}{'' if field.nullable else ' NOT NULL'}" for field in schema
    )


def _started() -> subprocess.Popen[str]:
    assert_installed()
    withdraw()
    with os.fdopen(os.open(log_path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def serve() -> None:
    """Answer the questions on stdin until there are no more. Runs in the process that is started for it."""
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    answers: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    builder: Any = SparkSession.builder
    for key, value in _CONF.items():
        builder = builder.config(key, value)
    spark = builder.master("local[1]").getOrCreate()
    for question in sys.stdin:
        text, tables, time_zone = json.loads(question)
        spark.conf.set(TIME_ZONE, time_zone)
        for name, columns in tables.items():
            spark.createDataFrame([], columns).createOrReplaceTempView(name)
        try:
            answer = spark.sql(text).schema.jsonValue()
        except PySparkException as error:
            answer = {"refused": _sentence(str(error))}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _sentence(said: str) -> str:
    """What Spark says, without its code, its place in the rendered text and its plan."""
    return re.sub(r"^\[[A-Z0-9_.]+\] |; line \d+ pos \d+;?$", "", said.strip().splitlines()[0])
