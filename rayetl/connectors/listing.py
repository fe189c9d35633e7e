"""Finding the files behind a path: one file, a glob or a directory, with Spark's partition columns."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import unquote

from rayetl.connectors.base import FileStore, InputFile
from rayetl.connectors.formats.options import ListingOptions
from rayetl.errors import NoFilesError, SourceError
from rayetl.records import dataclass
from rayetl.sql.types import DATE, DOUBLE, INT, LONG, STRING, TIMESTAMP, DataType, DecimalType, Field

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
COMPRESSIONS = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".snappy": "snappy",
    ".bz2": "bz2",
    ".deflate": "deflate",
}
_FORMATS = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".avro": "avro",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The files in a fixed order, and the partition columns that their directories spell."""

    files: tuple[InputFile, ...]
    partitions: tuple[Field, ...] = ()


def format_of(path: str) -> str | None:
    """The format that a file name, glob or directory name ends with; compression endings are passed over."""
    stem, ending = os.path.splitext(path.rstrip("/"))
    if ending.lower() in COMPRESSIONS:
        ending = os.path.splitext(stem)[1]
    return _FORMATS.get(ending.lower())


def compression_of(path: str) -> str | None:
    """The codec that a file name ends with, or `None`."""
    return COMPRESSIONS.get(os.path.splitext(path)[1].lower())


def list_files(
    paths: Sequence[str], options: ListingOptions, store: FileStore | None = None, *, drained: bool = False
) -> Listing:
    """All files behind `paths`, of `store` or of this machine, sorted by path. Raises SourceError for a path
    where there is nothing, unless `drained`, and what the store raises."""
    found: dict[str, InputFile] = {}
    for path in paths:
        try:
            for file in _local(path, options) if store is None else store.files(path, options):
                found.setdefault(file.path, file)
        except NoFilesError:
            if not drained:
                raise
    files = sorted(found.values(), key=lambda file: file.path)
    return Listing(tuple(files), _partition_fields(files))


def lost_files(paths: Sequence[str], files: Iterable[str], options: ListingOptions) -> Listing:
    """Files that were behind `paths` and may be gone, with the partition columns that they had there. Raises
    SourceError for one of which nobody can tell which of its directories are below a path."""
    found = [InputFile(file, 0, 0, _spelled(file, paths, options)) for file in sorted(set(files))]
    return Listing(tuple(found), _partition_fields(found))


def _spelled(file: str, paths: Sequence[str], options: ListingOptions) -> tuple[tuple[str, str | None], ...]:
    parts = file.split("/")[:-1]
    if options.recursive_file_lookup or not any("=" in part for part in parts):
        return ()
    patterns = [pattern for path in paths for pattern in braces(os.path.expanduser(path).rstrip("/"))]
    for pattern in patterns:
        root = pattern.split("/")
        fits = len(root) <= len(parts) + 1 and "**" not in root
        if fits and all(map(fnmatch.fnmatchcase, file.split("/"), root)):
            return tuple(partition_of(part) for part in parts[len(root) :])
    raise SourceError(
        f"the file {file} is gone, and `path` does not tell which of its directories spell columns",
        hint="let `path` name the directory above those, or put the file back",
    )


def _local(path: str, options: ListingOptions) -> Iterator[InputFile]:
    for root in _roots(path):
        yield from _files_of(root, options)


def _roots(path: str) -> list[str]:
    expanded = os.path.expanduser(path)
    found = sorted(
        item
        for pattern in braces(expanded)
        for item in glob.glob(pattern, recursive=True)
        if not is_hidden(os.path.basename(item)) or is_hidden(os.path.basename(pattern))
    )
    if os.path.exists(expanded):
        if others := [item for item in found if item != expanded]:
            raise ambiguous(path, others)
        return [expanded]
    if not found:
        what = (
            "no file fits the pattern"
            if glob.has_magic(expanded) or "{" in expanded
            else "there is no file or directory"
        )
        raise NoFilesError(f"{what} {path}", hint=f"paths are relative to {os.getcwd()}")
    return found


def ambiguous(path: str, others: Sequence[str]) -> SourceError:
    """What is said of a name that is a pattern too, which others fit: to take either alone would leave out
    rows."""
    return SourceError(
        f"{path} is the name of one file and a pattern that others fit, as {others[0]}",
        hint="rename that file, or name the files one by one",
    )


def braces(pattern: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`, as Hadoop's globs have it."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [item for choice in match.group(1).split(",") for item in braces(head + choice + tail)]


def _files_of(root: str, options: ListingOptions) -> Iterator[InputFile]:
    if os.path.isfile(root):
        yield from _kept(root, options, ())
        return
    _assert_there(root)
    if not os.path.isdir(root) and os.path.exists(root):
        raise SourceError(
            f"{root} is neither a file nor a directory",
            hint="what comes through a pipe can be read once only: write it to a file first",
        )
    yield from _walk(root, options, ())


def _assert_there(path: str) -> None:
    """Raise SourceError for a link to nothing: to pass over it would leave out rows."""
    if os.path.islink(path) and not os.path.lexists(os.path.realpath(path)):
        raise SourceError(f"{path} is a link to {os.readlink(path)}, and there is nothing")


def _walk(
    directory: str, options: ListingOptions, partition: tuple[tuple[str, str | None], ...]
) -> Iterator[InputFile]:
    try:
        entries = [
            (entry.name, entry.path, entry.is_file(), entry.is_dir())
            for entry in os.scandir(directory)
            if not is_hidden(entry.name)
        ]
    except OSError as error:
        raise SourceError(f"the directory {directory} cannot be listed: {error.strerror}") from error
    for name, path, is_file, is_directory in sorted(entries):
        if is_file:
            yield from _kept(path, options, partition)
        elif is_directory and options.recursive_file_lookup:
            yield from _walk(path, options, ())
        elif is_directory and "=" in name:
            yield from _walk(path, options, (*partition, partition_of(name)))
        elif not is_directory and is_wanted(name, options):
            _assert_there(path)


def is_hidden(name: str) -> bool:
    """Whether a walk through directories passes over a file or directory of that name."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def is_wanted(name: str, options: ListingOptions) -> bool:
    """Whether the options take a file of that name."""
    patterns = braces(options.path_glob_filter) if options.path_glob_filter else ["*"]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def partition_of(directory: str) -> tuple[str, str | None]:
    """Name and value of the partition that a directory `name=value` is."""
    name, _, value = as_text(directory).partition("=")
    return unquote(name), None if value == NULL_PARTITION else unquote(value)


def as_text(path: str) -> str:
    """A path as a text that can be stored: bytes in it that are none become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _kept(
    path: str, options: ListingOptions, partition: tuple[tuple[str, str | None], ...]
) -> Iterator[InputFile]:
    if not is_wanted(os.path.basename(path), options):
        return
    try:
        status = os.stat(path)
    except OSError as error:
        raise SourceError(f"the file {path} cannot be read: {error.strerror}") from error
    yield InputFile(path, status.st_size, status.st_mtime_ns, partition)


def fingerprint(files: Iterable[InputFile]) -> str:
    """What names exactly these files: path, size and modification time of each, or the store's tag."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.size}\0{version_of(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def version_of(file: InputFile) -> str:
    """What tells a file from others of its path and size: its modification time, or the store's tag."""
    return str(file.modified_ns) if file.store is None else file.tag


def shown(path: str) -> str:
    """A path as a text of its own, whatever bytes it is made of: two paths never have the same."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def assert_unchanged(files: Iterable[InputFile]) -> None:
    """Raise SourceError for a file that is not the one that was listed: what was read of it, and what its
    footer said before, may be of two different files. Of a store, nothing else than what was listed could be
    read."""
    for file in files:
        if file.store is not None:
            continue
        try:
            status = os.stat(file.path)
        except OSError as error:
            raise changed(file) from error
        if (status.st_size, status.st_mtime_ns) != (file.size, file.modified_ns):
            raise changed(file)


def changed(file: InputFile) -> SourceError:
    """What is said of a file that is not the one that was listed any more."""
    return SourceError(
        f"the file {file.path} changed while it was read",
        hint="nothing was committed; run again when nobody writes to it",
    )


def gone(path: str) -> SourceError:
    """What is said of a file that was listed and is not there."""
    return SourceError(
        f"the file {path} is not there any more",
        hint="nothing was committed; run again, which lists the files anew, when nobody moves them",
    )


def _partition_fields(files: Sequence[InputFile]) -> tuple[Field, ...]:
    names = {tuple(name for name, _ in file.partition) for file in files}
    if not names:
        return ()
    if len(names) > 1:
        shown = sorted("/".join(item) or "(none)" for item in names)
        raise SourceError(
            f"the directories spell different partition columns: {', '.join(shown)}",
            hint="point `path` at one level, or set `recursive_file_lookup`",
        )
    return tuple(
        Field(name, partition_type([dict(file.partition)[name] for file in files])) for name in names.pop()
    )


def partition_type(values: Iterable[str | None]) -> DataType:
    """The one type of all values of a partition column, as Spark infers it."""
    kinds = [_value_type(value) for value in {value for value in values if value is not None}]
    if not kinds:
        return STRING
    if all(kind in (INT, LONG) for kind in kinds):
        return LONG if LONG in kinds else INT
    if all(kind in (INT, LONG) or isinstance(kind, DecimalType) for kind in kinds):
        digits = max(kind.precision if isinstance(kind, DecimalType) else 20 for kind in kinds)
        return DecimalType(digits, 0)
    if all(kind in (INT, LONG, DOUBLE) or isinstance(kind, DecimalType) for kind in kinds):
        return DOUBLE
    if all(kind == DATE for kind in kinds):
        return DATE
    if all(kind in (DATE, TIMESTAMP) for kind in kinds):
        return TIMESTAMP
    return STRING


def _value_type(text: str) -> DataType:
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        size = int(text)
        if -(2**31) <= size < 2**31:
            return INT
        if -(2**63) <= size < 2**63:
            return LONG
        return DecimalType(len(text.lstrip("+-")), 0) if len(text.lstrip("+-")) <= 38 else DOUBLE
    try:
        if re.search(r"\d", text) and not re.search(r"[_\s]", text):
            Decimal(text)
            return DOUBLE
    except InvalidOperation:
        pass
    return _time_type(text)


def _time_type(text: str) -> DataType:
    for parse, kind in ((date.fromisoformat, DATE), (datetime.fromisoformat, TIMESTAMP)):
        try:
            if "-" in text:
                parse(text.strip())
                return kind
        except ValueError:
            continue
    return STRING
