"""The dead letter store in a database: a table of letters for all pipelines, and one of what was run again.

Letters are rows of a load like any other, so that an epoch has them exactly once; they are committed on a
connection of their own, before the loads of the run. Their reasons stand in the table as a JSON text.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from rayetl.connectors.base import BatchesTarget, BatchScan, Epoch, Load, LoadSession, Target
from rayetl.connectors.databases.connection import Connection, DatabaseConnection
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.databases.tables import Unfit
from rayetl.connectors.databases.tracker import Tracker
from rayetl.connectors.dead_letters import (
    LETTERS,
    REPLAYED,
    DeadLetters,
    DeadLetterStore,
    Part,
    as_reasons,
    as_text,
    pour,
)
from rayetl.connectors.scanning import scan
from rayetl.errors import CommitConflict, LoadError
from rayetl.lazy import lazily
from rayetl.sql.interop import to_polars
from rayetl.sql.types import STRING, Schema
from rayetl.sql.types import Field as Column

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")


class DatabaseDeadLetters(DatabaseConnection, DeadLetterStore):
    """Keeps refused records in a table of a database."""

    naming: ClassVar[type[QualifiedName]]
    load_type: ClassVar[type[DatabaseLoad]]
    source_type: ClassVar[type[DatabaseSource]]

    table: str = Field(
        default="rayetl_dead_letters",
        description="The table of the letters of all pipelines, as SQL names it; it is made if it does not "
        "exist. What was replayed stands beside it, in a table whose name ends with `_replayed`.",
        examples=["ops.rejects"],
    )

    @field_validator("table")
    @classmethod
    def _readable_name(cls, value: str) -> str:
        replayed, rules = _beside(cls.naming.parse(value), REPLAYED).name, cls.naming.spelling
        if rules.too_long(replayed):
            raise ValueError(
                f"the name is too long: beside it stands {replayed!r}, which has more than "
                f"{rules.longest} {rules.counted}, the most in {rules.server}"
            )
        return value

    def named(self, part: Part) -> QualifiedName:
        """The table of a part."""
        return _beside(self.naming.parse(self.table), part)

    def of(self, pipeline: str) -> DeadLetters:
        return TableLetters(pipeline, self)

    def is_place_of(self, load: Load, pipeline: str) -> bool:
        del pipeline
        if not isinstance(load, self.load_type) or load.place() != self.place():
            return False
        target = self.naming.parse(load.table)
        return any(
            target.name == mine.name and (None in (target.schema, mine.schema) or target == mine)
            for mine in (self.named(LETTERS), self.named(REPLAYED))
        )

    def load(self, part: Part) -> DatabaseLoad:
        """The load that appends to the table of a part."""
        return self.load_type.model_validate(
            {**self._connection(), "table": self.named(part).sql, "mode": "append"}
        )

    def source(self, part: Part, pipeline: str) -> DatabaseSource:
        """The source of what the table of a part holds of a pipeline."""
        query = f"SELECT * FROM {self.named(part).sql} WHERE pipeline = {self.quoted(pipeline)}"
        return self.source_type.model_validate({**self._connection(), "query": query})

    def _connection(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in DatabaseConnection.model_fields} | {"type": self.type}

    @abstractmethod
    def quoted(self, text: str) -> str:
        """A text as it stands in a statement."""

    @abstractmethod
    def resolve(self, connection: Connection, table: QualifiedName) -> tuple[QualifiedName, bool]:
        """The table with its schema, and whether it exists. Raises `LoadError` for anything but a table."""

    @abstractmethod
    def tracker(self, epoch: Epoch, table: QualifiedName) -> Tracker:
        """The epochs of a table."""

    @abstractmethod
    def made(self, table: QualifiedName, schema: Schema) -> str:
        """The statement that makes a table."""


class TableLetters(DeadLetters):
    """See `DeadLetters`."""

    def __init__(self, pipeline: str, store: DatabaseDeadLetters) -> None:
        super().__init__(pipeline, store.endpoint())
        self._store = store

    def assert_ready(self, epoch: Epoch) -> None:
        """Make the tables where they are not there, and see that letters fit into them."""
        with self._store.connect(LoadError) as connection:
            for part in (LETTERS, REPLAYED):
                self._make(connection, part, epoch)
        for part in (LETTERS, REPLAYED):
            session = self._open(part, epoch)
            try:
                if session.committed() is None:
                    session.begin()
            except Unfit as unfit:
                raise self._unfit(part, unfit) from None
            finally:
                session.abort()

    def _unfit(self, part: Part, unfit: Unfit) -> LoadError:
        table, (_, why) = self._store.named(part), unfit.message.split(": ", 1)
        what = "letters do" if part is LETTERS else "marks of what was replayed do"
        return LoadError(
            f"the {what} not fit into the table {table}: {why}",
            hint="name another `table` in `dead_letter`, which is made as they need it, or rename this one "
            f"(ALTER TABLE {table.sql} RENAME TO ...); no row was read",
        )

    def _make(self, connection: Connection, part: Part, epoch: Epoch) -> None:
        store = self._store
        table, exists = store.resolve(connection, store.named(part))
        if exists:
            return
        tracker = store.tracker(epoch, table)
        connection.begin()
        # A load of this run may have made it, unseen until its commit; pipelines that begin at the same
        # moment would both make it.
        tracker.fence(connection)
        if not tracker.lock(connection, "making", str(table)):
            raise CommitConflict(f"another run is making the table {table} and does not get on with it")
        if not store.resolve(connection, table)[1]:
            connection.execute(store.made(table, _stored(part)), f"making the table {table}")
        connection.execute("COMMIT", f"making the table {table}")

    def _open(self, part: Part, epoch: Epoch) -> LoadSession:
        return self._store.load(part).open(epoch, _stored(part))

    def _fill(self, target: Target, part: Part, frames: Iterable[pl.LazyFrame]) -> int:
        assert isinstance(target, BatchesTarget)
        columns = to_polars(part.schema)
        typed = (frame.select(part.schema.names).cast(columns) for frame in frames)  # type: ignore[arg-type]
        return pour(target, (self._as_stored(frame, part) for frame in typed))

    def _as_stored(self, frame: pl.LazyFrame, part: Part) -> pl.LazyFrame:
        if part is LETTERS:
            frame = frame.with_columns(as_text("reasons"))
        return frame.with_columns(pipeline=pl.lit(self.pipeline)).select(_stored(part).names)

    def _scan(self, part: Part, since: datetime | None = None) -> pl.LazyFrame:
        del since

        def read(columns: list[str], predicate: pl.Expr | None) -> Iterator[pl.DataFrame]:
            # The server would compare the text of the reasons.
            apart = predicate is not None and "reasons" in predicate.meta.root_names()
            for frame in self._rows(part, columns, None if apart else predicate):
                yield frame.with_columns(as_reasons(name) for name in columns if name == "reasons")

        return scan(read, to_polars(part.schema))

    def _rows(self, part: Part, columns: list[str], predicate: pl.Expr | None) -> Iterator[pl.DataFrame]:
        store = self._store
        with store.connect() as connection:
            _, exists = store.resolve(connection, store.named(part))
        if exists:
            found = store.source(part, self.pipeline).describe(None)
            assert isinstance(found, BatchScan)
            with closing(found.open()) as reading:
                yield from reading.frames(columns, predicate, None)


def _beside(letters: QualifiedName, part: Part) -> QualifiedName:
    return letters if part is LETTERS else type(letters)(letters.schema, f"{letters.name}_{part.name}")


def _stored(part: Part) -> Schema:
    """The columns of the table of a part."""
    shared = () if part is LETTERS else (Column("pipeline", STRING, nullable=False),)
    as_text = (
        Column(field.name, STRING, nullable=False) if field.name == "reasons" else field
        for field in part.schema
    )
    return Schema((*shared, *as_text))
