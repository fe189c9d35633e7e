"""Where rows come from and go to. These lists are all that has to know a new connector."""

from __future__ import annotations

from rayetl.connectors.dead_letter_files import DeadLetterFiles
from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.delta.source import DeltaSource
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.iceberg.source import IcebergSource
from rayetl.connectors.kafka.letters import KafkaDeadLetters
from rayetl.connectors.mysql.letters import MysqlDeadLetters
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.connectors.mysql.source import MysqlSource
from rayetl.connectors.postgres.letters import PostgresDeadLetters
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.source import PostgresSource

SOURCES = (FilesSource, PostgresSource, MysqlSource, DeltaSource, IcebergSource)
"""The sources a config can name by `type`."""

LOADS = (FilesLoad, PostgresLoad, MysqlLoad, DeltaLoad, IcebergLoad)
"""The loads a config can name by `type`."""

LETTER_STORES = (DeadLetterFiles, PostgresDeadLetters, MysqlDeadLetters, KafkaDeadLetters)
"""The dead letter stores a config can name by `type`; the first is taken where none is named."""
