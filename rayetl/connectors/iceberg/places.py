"""Where Iceberg tables may lie: in directories of this machine, and in buckets."""

from __future__ import annotations

import os
import re

from rayetl.connectors.places import S3

_LOCAL = re.compile(r"(file:(?://)?)?(/|(?![a-z][a-z0-9+.-]*:))", re.IGNORECASE)
_BUCKET = re.compile(r"s3[an]?://")
"""Spark's writers know buckets by other names too."""


def assert_place(place: str) -> None:
    """Raises `ValueError` for a place that can hold no table of ours."""
    if in_bucket(place) is None and not _LOCAL.match(place):
        raise ValueError(f"{place} is neither a directory of this machine nor of S3 ({S3}bucket/key)")
    if "?" in place or "#" in place:
        raise ValueError(f"{place} has a `?` or `#`, which Iceberg's library takes for the end of the path")


def in_bucket(place: str) -> str | None:
    """A place as `s3://bucket/key`; `None` for one of this machine."""
    found = _BUCKET.match(place)
    return f"{S3}{place[found.end() :]}" if found else None


def local(place: str) -> str:
    """The path behind a `file:` address, which is not percent-encoded, or a path."""
    for scheme in ("file://", "file:"):
        place = place.removeprefix(scheme)
    return os.path.expanduser(place)
