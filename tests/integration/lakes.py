"""Tables of a lake as the tests of loads and sources see them, whatever keeps them."""

from __future__ import annotations

import datetime as dt
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from services.s3 import Bucket, S3Server

from rayetl import Pipeline
from rayetl.observability.report import RunReport

CATALOG = {"type": "sql", "uri": "sqlite:///lake/catalog.db", "warehouse": "lake"}


class Lake:
    """A table `lake` of Delta, in the working directory."""

    settings: ClassVar[dict[str, Any]] = {"type": "delta", "path": "lake"}
    name = "Delta table lake"

    def load(
        self,
        rows: pl.DataFrame,
        *,
        key: str | None = None,
        force: bool = False,
        attempts: int = 5,
        **settings: Any,
    ) -> RunReport:
        """Load rows into the table, in so many `attempts` at most."""
        rows.write_parquet("in.parquet")
        config = {
            "name": "p",
            "extract": {"type": "files", "path": "in.parquet"},
            "load": {"id": "lake", **self.settings, **settings},
            "resilience": {"retry": {"max_attempts": attempts}},
        }
        return Pipeline.from_dict(config).run(run_key=key, force=force)

    def source(self, **settings: Any) -> dict[str, Any]:
        """A config that reads the table into files."""
        return {
            "name": "r",
            "extract": {**self.settings, **settings},
            "load": {"type": "files", "path": "read", "mode": "overwrite"},
        }

    def read(self, **settings: Any) -> pl.DataFrame:
        """The table as the source reads it."""
        report = Pipeline.from_dict(self.source(**settings)).run(force=True)
        found = pl.read_parquet("read/*.parquet")
        assert report.rows_read == found.height
        return found

    def seen(self) -> pl.DataFrame:
        """The table as a reader sees it that knows nothing of rayetl."""
        from deltalake import DeltaTable

        return pl.from_arrow(DeltaTable("lake").to_pyarrow_table())  # type: ignore[return-value]

    def remove_a_file(self) -> None:
        """Take a data file away without the table's knowledge."""
        next(Path("lake").glob("part-*.parquet")).unlink()


class DeltaOnS3(Lake):
    """A Delta table in a bucket."""

    def __init__(self, bucket: Bucket, server: S3Server) -> None:
        self.bucket = bucket
        path = f"{bucket.url}/lake"
        self.settings = {  # type: ignore[misc]
            "type": "delta",
            "path": path,
            "credential": "lake",
            "s3": {"endpoint": server.endpoint},
        }
        self.name = f"Delta table {path}"

    def seen(self) -> pl.DataFrame:
        """What is in the bucket, copied out of it."""
        from deltalake import DeltaTable

        shutil.rmtree("copy", ignore_errors=True)
        for key in self.bucket.keys("lake/", hidden=True):
            path = Path("copy", key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.bucket.get(key))
        return pl.from_arrow(DeltaTable("copy/lake").to_pyarrow_table())  # type: ignore[return-value]

    def remove_a_file(self) -> None:
        found = next(key for key in self.bucket.keys("lake/") if "/part-" in key)
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=found)


class IcebergLake(Lake):
    """A table `shop.daily` of an SQLite catalog in the directory `lake`."""

    settings: ClassVar[dict[str, Any]] = {"type": "iceberg", "catalog": CATALOG, "table": "shop.daily"}
    name = "Iceberg table shop.daily"

    def catalog(self) -> Any:
        """The catalog as another program opens it."""
        from pyiceberg.catalog.sql import SqlCatalog

        Path("lake").mkdir(exist_ok=True)
        here = Path("lake").absolute()
        return SqlCatalog("default", uri=f"sqlite:///{here}/catalog.db", warehouse=f"file://{here}")

    def table(self) -> Any:
        """The table as another program opens it."""
        return self.catalog().load_table("shop.daily")

    def made(self, rows: Any, **settings: Any) -> Any:
        """The table as another program makes it, without rows."""
        catalog = self.catalog()
        catalog.create_namespace_if_not_exists("shop")
        schema = rows.to_arrow().schema if isinstance(rows, pl.DataFrame) else rows
        return catalog.create_table("shop.daily", schema, **settings)

    def seen(self) -> pl.DataFrame:
        return pl.from_arrow(self.table().scan().to_arrow())  # type: ignore[return-value]

    def remove_a_file(self) -> None:
        next(Path("lake/shop/daily/data").rglob("part-*.parquet")).unlink()


class IcebergOnS3(IcebergLake):
    """A table `shop.daily` of an SQLite catalog, whose files lie in a bucket."""

    def __init__(self, bucket: Bucket, server: S3Server) -> None:
        self.bucket = bucket
        self.warehouse = f"{bucket.url}/tables"
        catalog = {"type": "sql", "uri": "sqlite:///lake/catalog.db", "warehouse": self.warehouse}
        s3 = {"credential": "lake", "endpoint": server.endpoint}
        self.settings = {**IcebergLake.settings, "catalog": catalog, "s3": s3}  # type: ignore[misc]

    def catalog(self) -> Any:
        """The catalog as another program opens it, with an S3 client of its own."""
        from pyiceberg.catalog.sql import SqlCatalog

        Path("lake").mkdir(exist_ok=True)
        keys = self.bucket.client._request_signer._credentials
        return SqlCatalog(
            "default",
            **{
                "uri": f"sqlite:///{Path('lake').absolute()}/catalog.db",
                "warehouse": self.warehouse,
                "s3.endpoint": self.settings["s3"]["endpoint"],
                "s3.access-key-id": keys.access_key,
                "s3.secret-access-key": keys.secret_key,
                "s3.region": "us-east-1",
            },
        )

    def remove_a_file(self) -> None:
        found = next(key for key in self.bucket.keys("tables/shop/daily/data/") if "/part-" in key)
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=found)


class HadoopLake(IcebergLake):
    """A table `shop.daily` of a hadoop catalog in the directory `lake`."""

    settings: ClassVar[dict[str, Any]] = {
        **IcebergLake.settings,
        "catalog": {"type": "hadoop", "warehouse": "lake"},
    }

    def table(self) -> Any:
        """The table at its highest version, as one who knows no catalog opens it."""
        from pyiceberg.table import StaticTable

        versions = Path("lake/shop/daily/metadata").absolute().glob("v*.metadata.json")
        newest = max(versions, key=lambda path: int(path.name[1:].partition(".")[0]))
        return StaticTable.from_metadata(f"file://{newest}")


class HadoopOnS3(IcebergOnS3):
    """A table `shop.daily` of a hadoop catalog in a bucket."""

    def __init__(self, bucket: Bucket, server: S3Server) -> None:
        super().__init__(bucket, server)
        self.settings["catalog"] = {"type": "hadoop", "warehouse": self.warehouse}

    def table(self) -> Any:
        """The table at its highest version, with an S3 client of its own."""
        from pyiceberg.table import StaticTable

        place = "tables/shop/daily/metadata/"
        names = [key.removeprefix(place) for key in self.bucket.keys(place)]
        versions = [int(name[1:].partition(".")[0]) for name in names if name.endswith(".metadata.json")]
        newest = f"{self.bucket.url}/{place}v{max(versions)}.metadata.json"
        return StaticTable.from_metadata(newest, self.catalog().properties)


def numbers(*found: int) -> pl.DataFrame:
    return pl.DataFrame({"id": list(found), "v": [f"v{number}" for number in found]})


EVERY_TYPE = pl.DataFrame(
    {
        "bool": [True, None],
        "byte": pl.Series([1, None], dtype=pl.Int8),
        "short": pl.Series([-32768, None], dtype=pl.Int16),
        "int": pl.Series([2**31 - 1, None], dtype=pl.Int32),
        "long": pl.Series([-(2**63), None], dtype=pl.Int64),
        "float": pl.Series([float("nan"), None], dtype=pl.Float32),
        "double": [-0.0, None],
        "text": ["häß\n'\"\\ ", None],
        "bytes": [b"\x00\xff", None],
        "date": [dt.date(1582, 10, 15), None],
        "instant": pl.Series([dt.datetime(2020, 6, 1, 12, 0, 0, 1), None], dtype=pl.Datetime("us", "UTC")),
        "wall": pl.Series([dt.datetime(1, 1, 1), None], dtype=pl.Datetime("us")),
        "small": pl.Series([Decimal("-99.99"), None], dtype=pl.Decimal(4, 2)),
        "large": pl.Series(
            [Decimal("12345678901234567890.123456789012345678"), None], dtype=pl.Decimal(38, 18)
        ),
        "list": [[1, None], None],
        "struct": [{"a": 1, "b": [{"c": "x"}]}, None],
    }
)
