"""Parquet in which one column is encrypted, by Parquet's own modular encryption: column by column, in C++.

Every file has a random key of its own, wrapped under a key of a `Keyring`; which one, the file says in clear,
as it does its schema and all other columns. Those can be read without a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import InputFile
from rayetl.connectors.scanning import scan
from rayetl.errors import CredentialError, SourceError
from rayetl.secrets.keyring import Keyring
from rayetl.secrets.vault.document import bytes_of, text_of
from rayetl.secrets.vault.sealing import NotSealedSoError, seal, unseal

if TYPE_CHECKING:
    import polars as pl

_MARK = b"rayetl.key"
_MORSEL = 8_192
_DAMAGED = "put back a copy of the file, or move it away: its dead letters are lost then, others are read"


def write_sealed(path: Path, frame: pl.LazyFrame, column: str, ring: Keyring, group: int) -> int:
    """Stream a frame into a new file, `column` encrypted under the current key; returns how many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"{ring.name}/{ring.current}"
    empty = frame.collect_schema().to_frame().to_arrow().schema
    schema: Any = empty.with_metadata({_MARK: name.encode()})
    properties = _factory(ring).file_encryption_properties(_connection(), _configuration(name, column))
    # Dictionaries of columns that hardly repeat cost more than they save, and nobody asks for statistics.
    how: Any = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": False,
        "write_statistics": False,
    }
    rows = 0
    with pq.ParquetWriter(path, schema, encryption_properties=properties, **how) as writer:
        for batch in frame.collect_batches(chunk_size=group, maintain_order=True):
            table: pa.Table = batch.to_arrow().cast(schema)
            writer.write_table(table, row_group_size=group)
            rows += batch.height
    return rows


def sealed_with(file: Path | InputFile) -> str | None:
    """Credential and id of the key that a file needs, as `reject_key/k1`; `None` if it needs none."""
    import pyarrow.parquet as pq

    mark = (pq.read_schema(_source(file)).metadata or {}).get(_MARK)
    return None if mark is None else mark.decode()


def scan_sealed(
    files: Sequence[Path | InputFile], column: str, schema: Mapping[str, pl.DataType]
) -> pl.LazyFrame:
    """The rows of files, sealed ones and others. Keys are looked up only where `column` is asked for; then
    reading raises `CredentialError` for one that is not there. A damaged file raises `SourceError`."""

    from rayetl.connectors.formats.parquet_footers import guarded

    def read(columns: list[str], predicate: pl.Expr | None) -> Iterator[pl.DataFrame]:
        del predicate
        for file in files:
            try:
                with guarded(str(file if isinstance(file, Path) else file.path)):
                    yield from _read(file, columns, column in columns)
            except SourceError as error:
                error.hint = _DAMAGED
                raise

    return scan(read, schema)


def _source(file: Path | InputFile) -> Any:
    return file if isinstance(file, Path) else file.open()


def _read(file: Path | InputFile, columns: list[str], opened: bool) -> Iterator[pl.DataFrame]:
    import polars as pl
    import pyarrow.parquet as pq

    properties = _opened(file) if opened else None
    with pq.ParquetFile(_source(file), decryption_properties=properties) as parquet:
        for batch in parquet.iter_batches(_MORSEL, columns=columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame.select(columns)


def _opened(file: Path | InputFile) -> Any:
    from pyarrow.parquet import encryption

    name = sealed_with(file)
    if name is None:
        return None
    ring = Keyring.find(name.rpartition("/")[0])
    ring.key(name.rpartition("/")[2])
    return _factory(ring).file_decryption_properties(_connection(), encryption.DecryptionConfiguration())


def _connection() -> Any:
    from pyarrow.parquet import encryption

    return encryption.KmsConnectionConfig()


def _configuration(name: str, column: str) -> Any:
    from pyarrow.parquet import encryption

    return encryption.EncryptionConfiguration(
        footer_key=name,
        column_keys={name: [column]},
        plaintext_footer=True,
        double_wrapping=False,
        internal_key_material=True,
        data_key_length_bits=256,
    )


def _factory(ring: Keyring) -> Any:
    """What wraps the keys of files under those of a ring, for the time of one file."""
    from pyarrow.parquet import encryption

    class Wrapping(encryption.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            key = ring.key(master_key_identifier.rpartition("/")[2])
            return text_of(seal(key, key_bytes, "parquet", master_key_identifier)).encode()

        def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
            kid = master_key_identifier.rpartition("/")[2]
            try:
                sealed = bytes_of(wrapped_key)
                return unseal(ring.key(kid), sealed, "parquet", master_key_identifier)
            except NotSealedSoError:
                raise CredentialError(
                    f"the key {kid} of the credential {ring.name!r} is another one than this needs",
                    hint="was the credential made anew? put back the key that it held then",
                ) from None

    return encryption.CryptoFactory(lambda _: Wrapping())
