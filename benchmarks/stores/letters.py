"""What does it cost to encrypt the records of dead letters? Both ways in turn in one process."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from rayetl.connectors.base import Epoch
from rayetl.connectors.dead_letter_files import DeadLetterFiles
from rayetl.connectors.dead_letters import DEAD_LETTER
from rayetl.secrets.keyring import with_new_key
from rayetl.sql.interop import to_polars

ROWS, PAIRS = 1_000_000, 5


def letters() -> pl.LazyFrame:
    """A million letters whose records are lines of a CSV file."""
    number = pl.int_range(ROWS, dtype=pl.Int64)
    parts = (number, number * 7919 % 9973, number * 31, number % 1000, number % 17)
    reason = {
        "rule": "range",
        "kind": "range",
        "field": "delay",
        "reason": "delay is above 900",
    }
    made = {
        "id": pl.format("{}-0123456789abcdef01234567", number),
        "reasons": pl.concat_list(pl.struct(**{name: pl.lit(text) for name, text in reason.items()})),
        "row": number,
        "record": pl.format("{},{},{},0.{},carrier-{},2013-01-01", *parts).cast(pl.Binary),
        "time": pl.lit(datetime(2026, 1, 1, tzinfo=UTC)),
    }
    texts = ("pipeline", "run", "epoch", "step", "record_format")
    others = {
        name: pl.lit("x" if name in texts else None).cast(kind)
        for name, kind in to_polars(DEAD_LETTER).items()
        if name not in made
    }
    return pl.select(**others, **made).lazy()


def write(frame: pl.LazyFrame, directory: Path, name: str, encrypt: str | None) -> tuple[float, int]:
    """Seconds and bytes of one epoch of letters, committed."""
    store = DeadLetterFiles(path=str(directory / name), encrypt=encrypt).of("p")
    begun = time.perf_counter()
    store.write(Epoch("p", "rejects", "k", "r"), [frame], ROWS)
    return time.perf_counter() - begun, sum(
        path.stat().st_size for path in (directory / name).rglob("*.parquet")
    )


def main() -> None:
    """Print the median of the ratios."""
    for field, value in with_new_key({})[0].items():
        os.environ[f"RAYETL_CREDENTIAL_BENCH__{field.upper()}"] = value
    frame = letters().collect().lazy()
    ratios, seconds = [], []
    with tempfile.TemporaryDirectory() as directory:
        for pair in range(PAIRS + 1):
            plain, size = write(frame, Path(directory), f"plain-{pair}", None)
            sealed, sealed_size = write(frame, Path(directory), f"sealed-{pair}", "bench")
            if pair:
                ratios.append(sealed / plain)
                seconds.append((sealed, plain))
    took, base = map(statistics.median, zip(*seconds, strict=True))
    ratio = statistics.median(ratios)
    print(f"{ROWS:,} letters: encrypted {took:.2f} s, in clear {base:.2f} s, ratio {ratio:.2f}")
    print(f"bytes: encrypted {sealed_size:,}, in clear {size:,}, ratio {sealed_size / size:.3f}")


if __name__ == "__main__":
    main()
