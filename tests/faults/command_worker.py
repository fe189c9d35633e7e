"""A command of rayetl in a fork of a process that has everything loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import adbc_driver_postgresql.dbapi  # noqa: F401
import boto3.session  # noqa: F401
import confluent_kafka  # noqa: F401
import pymysql  # noqa: F401

import rayetl.connectors.kafka.session
import rayetl.connectors.mysql.session
import rayetl.connectors.postgres.session
import rayetl.connectors.s3.session
import rayetl.engines.polars.engine
import rayetl.pipeline  # noqa: F401
from rayetl import failpoints
from rayetl.cli import main


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
