"""Where rows come from and go to. These two lists are all that has to know a new connector."""

from __future__ import annotations

from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.delta.source import DeltaSource
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.iceberg.source import IcebergSource
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.connectors.mysql.source import MysqlSource
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.source import PostgresSource

SOURCES = (FilesSource, PostgresSource, MysqlSource, DeltaSource, IcebergSource)
"""The sources a config can name by `type`."""

LOADS = (FilesLoad, PostgresLoad, MysqlLoad, DeltaLoad, IcebergLoad)
"""The loads a config can name by `type`."""
