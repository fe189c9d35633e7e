"""Real servers for tests, on loopback ports of this machine. See README.md beside this file."""

from __future__ import annotations

from services.base import Service
from services.mariadb import Mariadb
from services.postgres import Postgres

SERVICES: dict[str, type[Service]] = {service.name: service for service in (Postgres, Mariadb)}
"""The services by name: a new one is one file and its name here."""
