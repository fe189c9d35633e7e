"""Which schema the files of a source are read with: given, promised by a contract, or their own."""

from __future__ import annotations

from dataclasses import replace

from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats.options import CsvOptions, JsonOptions, ParquetOptions
from rayetl.errors import NoFilesError, SourceError
from rayetl.names import PREFIX
from rayetl.sql.types import STRING, ArrayType, DataType, Field, MapType, Schema, StructType, names_within

_SHOWN = 40
"""Characters of a name that are shown where it may be no name."""


def settle_schema(
    scan: FilesScan,
    given: Schema | None,
    promised: Schema | None,
    partitions: tuple[Field, ...],
    *,
    extras: bool = True,
) -> Schema:
    """The schema of a scan that lists its files: their columns, then the partition columns.

    `extras` asks for JSON fields that are not promised too, for which all data is looked through.
    Raises SourceError naming the file that cannot say its columns.
    """
    typed = tuple(_partition(field, given or promised) for field in partitions)
    spelled = {field.name.lower() for field in typed}
    data = given if given is not None else _own(scan, promised, extras)
    kept = tuple(field for field in data if field.name.lower() not in spelled)
    found = Schema(tuple(Field(field.name, nullable(field.type)) for field in (*kept, *typed)))
    _check_names(scan, found)
    return found


def _partition(field: Field, given: Schema | None) -> Field:
    wanted = given.get(field.name) if given is not None else None
    return field if wanted is None else wanted


def nullable(kind: DataType) -> DataType:
    """The type with NULL allowed everywhere: files do not keep promises, contracts check them."""
    match kind:
        case StructType(fields):
            return StructType(tuple(Field(field.name, nullable(field.type)) for field in fields))
        case ArrayType(element):
            return ArrayType(nullable(element))
        case MapType(key, value):
            return MapType(nullable(key), nullable(value))
    return kind


def _check_names(scan: FilesScan, schema: Schema) -> None:
    seen: set[str] = set()
    where = scan.files[0].path if scan.files else "the source"
    for name in schema.names:
        if name.lower() in seen:
            raise SourceError(f"{where}: there are two columns named {name}", hint="give a `schema`")
        if name.startswith(PREFIX):
            raise SourceError(
                f"{where}: the column name {name} begins with {PREFIX}, which rayetl keeps for itself"
            )
        seen.add(name.lower())
    for name in names_within(schema):
        if "\0" in name:
            shown = repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
            raise SourceError(
                f"{where}: the name {shown} has the character U+0000 in it, which no column can have",
                hint="is the `encoding` another one? Else give a `schema` with other names, or without it",
            )


def _own(scan: FilesScan, promised: Schema | None, extras: bool) -> Schema:
    if not scan.files:
        if promised is not None:
            return promised
        raise NoFilesError("there are no files to take the columns from", hint="give a `schema`")
    if scan.format in ("parquet", "avro"):
        found = _parquet(scan) if scan.format == "parquet" else _avro(scan)
        if not len(found):
            raise SourceError(f"the file {scan.files[0].path} has no columns, so its rows hold nothing")
        return found
    if isinstance(scan.options, CsvOptions):
        from rayetl.connectors.formats.csv_infer import csv_schema

        return csv_schema(scan, scan.options, promised)
    assert isinstance(scan.options, JsonOptions)
    if promised is not None and not extras:
        return promised
    from rayetl.connectors.formats.json_infer import json_schema

    return json_schema(scan, scan.options, promised)


def _avro(scan: FilesScan) -> Schema:
    from rayetl.connectors.formats.avro import file_schema

    return file_schema(scan.files[0])


def _parquet(scan: FilesScan) -> Schema:
    from rayetl.connectors.formats.parquet_footers import file_schema

    assert isinstance(scan.options, ParquetOptions)
    files = scan.files if scan.options.merge_schema else scan.files[:1]
    found = file_schema(files[0])
    for file in files[1:]:
        found = _united(found, file_schema(file), file.path)
    return found


def _united(first: Schema, second: Schema, path: str) -> Schema:
    fields = list(first.fields)
    places = {field.name.lower(): place for place, field in enumerate(fields)}
    for field in second:
        place = places.get(field.name.lower())
        if place is None:
            fields.append(field)
        elif nullable(fields[place].type) != nullable(field.type):
            raise SourceError(
                f"the file {path} has the column {field.name} as {field.type}, others as {fields[place].type}"
            )
    return Schema(tuple(fields))


def renamed(schema: Schema, promised: Schema | None) -> Schema:
    """Columns of a header with the types that a contract promises them; others stay STRING."""
    if promised is None:
        return schema
    found = ((field, promised.get(field.name)) for field in schema)
    return Schema(tuple(replace(field, type=wanted.type if wanted else STRING) for field, wanted in found))
