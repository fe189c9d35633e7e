"""Functions of this family."""

from __future__ import annotations

from rayetl.sql.functions.base import Table

TABLE = Table()
