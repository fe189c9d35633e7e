"""A command of rayetl in a fork of a process that has everything loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import adbc_driver_postgresql.dbapi  # noqa: F401
import boto3.session  # noqa: F401
import confluent_kafka  # noqa: F401
import pymysql  # noqa: F401

import rayetl.cli.app
import rayetl.cli.dlq
import rayetl.cli.run
import rayetl.connectors.formats.records
import rayetl.connectors.kafka.session
import rayetl.connectors.mysql.session
import rayetl.connectors.postgres.session
import rayetl.connectors.s3.session
import rayetl.engines.polars.engine
import rayetl.observability.html
import rayetl.pipeline
import rayetl.runs.execute
import rayetl.runs.replay
import rayetl.sql.analyze.select
import rayetl.sql.lower.relations  # noqa: F401
from rayetl import failpoints
from rayetl.cli import main
from rayetl.pipeline import Pipeline

# Models make their validators when they are first used: here, and not in each process.
_FILES = {"type": "files", "path": "."}
_SERVER = {"credential": "store", "table": "t"}
_STORES: tuple[dict[str, Any], ...] = (
    _FILES,
    {"type": "kafka", "brokers": "localhost:1", "topic": "t"},
    {"type": "mysql", **_SERVER},
    {"type": "postgres", **_SERVER},
)
for _store in _STORES:
    _rule = {"name": "r", "check": "TRUE"}
    _steps = [{"id": "v", "type": "validate", "rules": [_rule]}]
    _more = {"resilience": {"retry": {"max_attempts": 1}, "dead_letter": _store}}
    Pipeline.from_dict({"name": "known", "extract": _FILES, "transform": _steps, "load": _FILES, **_more})


def run(words: Sequence[str], directory: str, environment: Mapping[str, str], said: str, bug: str) -> None:
    """Leave with the command's exit code. What it says goes to the file `said`; `bug` is a statement that
    plants one."""
    os.chdir(directory)
    os.environ.update(environment)
    failpoints.rearm()
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    exec(bug, {})
    sys.exit(main(words))
