"""Real servers for tests, on loopback ports of this machine. See README.md beside this file."""

from __future__ import annotations

from services.base import Service
from services.kafka import Kafka
from services.mariadb import Mariadb
from services.mysql import Mysql
from services.postgres import Postgres
from services.s3 import S3Server

SERVICES: dict[str, type[Service]] = {
    service.name: service for service in (Postgres, Mariadb, Mysql, S3Server, Kafka)
}
"""The services by name: a new one is one file and its name here."""
