"""The source `files`: Parquet, CSV, JSON and Avro files, here or on S3, read as Spark reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator

from rayetl.connectors.base import FilesScan, Scan, Source
from rayetl.connectors.formats.options import OPTIONS, CsvOptions, FormatName, ListingOptions, ReadOptions
from rayetl.connectors.listing import Listing, fingerprint, format_of, list_files, lost_files
from rayetl.connectors.places import FilePath, is_on_s3
from rayetl.connectors.s3.settings import UsesS3
from rayetl.contracts import ContractConfig, ExtraFields
from rayetl.errors import SourceError, SqlError
from rayetl.model import Model, OneOrMany
from rayetl.sql.types import Field as Column
from rayetl.sql.types import Schema

_NEEDED = "give the source a `schema`, with which a replay needs letters alone, or put the files back for it"


class ColumnSpec(Model):
    """One column of a schema."""

    name: str = Field(min_length=1, description="Name of the column.", examples=["price"])
    type: str = Field(description="Its type as Spark's DDL writes it.", examples=["DECIMAL(10,2)"])


def _parsed(text: str) -> Schema:
    from rayetl.sql.interop import parse_ddl

    try:
        return parse_ddl(text)
    except SqlError as error:
        said = (f"{each.message}{f': {each.hint}' if each.hint else ''}" for each in error.problems)
        raise ValueError("; ".join(said)) from None


class FilesSource(UsesS3, Source):
    """Reads files: one, several, a glob, or a directory with its partition directories; of this machine or
    of S3."""

    type: Literal["files"]
    path: Annotated[tuple[FilePath, ...], OneOrMany()] = Field(
        min_length=1,
        description="File, directory or glob, or a list of them; `s3://bucket/...` is on S3. `year=2013` "
        "directories become columns.",
        examples=["data/flights/*.csv", "s3://lake/flights/*.csv"],
    )
    format: FormatName | None = Field(
        default=None, description="Format of the files; by default what their names end with."
    )
    schema_: str | tuple[ColumnSpec, ...] | None = Field(
        default=None,
        alias="schema",
        description="Columns and types: Spark's DDL, or a list of name and type. By default a contract's "
        "or the file's own.",
        examples=["id BIGINT, price DECIMAL(10,2)"],
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that the rows must satisfy.",
        examples=["schemas/flight.avsc"],
    )
    mode: Literal["permissive", "drop", "fail"] = Field(
        default="permissive",
        description="What a malformed record does: `permissive` sends its source bytes to the rejects, "
        "`drop` leaves it out and counts it, `fail` stops the run.",
    )
    incremental: bool = Field(
        default=False,
        description="Whether each file is taken once: a run reads the files that no run before it has "
        "loaded. For folders that grow; [how](../files.md#folders-that-grow).",
    )
    options: ReadOptions | None = Field(
        default=None,
        description="How the format is read, with the names of Spark's options.",
        examples=[{"header": True, "sep": ";"}],
    )

    @field_validator("schema_")
    @classmethod
    def _readable_schema(cls, value: Any) -> Any:
        if value is not None:
            _explicit(value)
        return value

    @field_validator("options", mode="wrap")
    @classmethod
    def _of_format(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        del handler  # It would try all models; the format says which one is meant.
        if value is None:
            return None
        name = _settled_format(info.data.get("format"), info.data.get("path", ()))
        if name is None:
            raise ValueError("the path does not tell the format: set `format` beside `options`")
        return OPTIONS[name].model_validate(value)

    @model_validator(mode="after")
    def _one_kind_of_place(self) -> Self:
        self.assert_places(self.path)
        return self

    def is_incremental(self) -> bool:
        return self.incremental

    def guesses_types(self, scan: Scan) -> bool:
        if self.schema_ is not None or not self._wants_extras():
            return False
        assert isinstance(scan, FilesScan)
        if isinstance(scan.options, CsvOptions):
            return scan.options.infer_schema and self.contract is None
        return scan.format == "json"

    def endpoint(self) -> str | None:
        return self.account.service if is_on_s3(self.path[0]) else None

    def describe(self, promised: Schema | None) -> FilesScan:
        """The files behind `path` and their schema. Raises SourceError naming the path or file at fault."""
        return self._scan(self._listing(), promised)

    def recall(self, promised: Schema | None, files: Sequence[str]) -> FilesScan:
        """As `describe`; where no file is there, the schema that is given holds for what `files` had."""
        try:
            listing = self._listing()
        except SourceError as gone:
            if self.schema_ is None:
                raise SourceError(f"{gone.message}, and columns are taken from files", hint=_NEEDED) from gone
            listing = Listing(())
        if listing.files or self.schema_ is None:
            return self._scan(listing, promised)
        lost = lost_files(self.path, files, self.options or ListingOptions())
        given = _explicit(self.schema_)
        if untyped := [field.name for field in lost.partitions if given.get(field.name) is None]:
            raise SourceError(
                f"the files are gone, whose directories gave the column {untyped[0]} its type",
                hint=f"name {untyped[0]} in the `schema` too, or put the files back for the replay",
            )
        return self._scan(lost, promised)

    def describe_drained(self, promised: Schema | None) -> FilesScan:
        return self._scan(self._listing(drained=True), promised)

    def has_files(self) -> bool:
        return bool(self._listing(drained=True).files)

    def _listing(self, *, drained: bool = False) -> Listing:
        store = self.account if is_on_s3(self.path[0]) else None
        return list_files(self.path, self.options or ListingOptions(), store, drained=drained)

    def _scan(self, listing: Listing, promised: Schema | None) -> FilesScan:
        from rayetl.connectors.formats.schemas import settle_schema

        name = self._format_found(listing)
        options = self.options or OPTIONS[name]()
        given = _explicit(self.schema_) if self.schema_ is not None else None
        scan = FilesScan(name, listing.files, Schema(), options, self.mode)
        schema = settle_schema(scan, given, promised, listing.partitions, extras=self._wants_extras())
        return FilesScan(name, listing.files, schema, options, self.mode)

    def _wants_extras(self) -> bool:
        return self.contract is None or self.contract.extra_fields is not ExtraFields.DROP

    def identity(self, scan: Scan) -> str | None:
        """A fingerprint of path, size and modification time of every file; on S3 of path, size and ETag."""
        assert isinstance(scan, FilesScan)
        return fingerprint(scan.files)

    def _format_found(self, listing: Listing) -> str:
        name = _settled_format(self.format, self.path)
        if name is not None:
            return name
        found = sorted({format_of(file.path) or "" for file in listing.files})
        if len(found) == 1 and found[0]:
            return found[0]
        raise SourceError(
            f"the file names below {', '.join(self.path)} do not tell one format",
            hint="set `format` to parquet, csv, json or avro",
        )


def _settled_format(given: str | None, paths: Sequence[str]) -> str | None:
    found = {format_of(path) for path in paths}
    return given or (found.pop() if len(found) == 1 else None)


def _explicit(value: str | tuple[ColumnSpec, ...]) -> Schema:
    if isinstance(value, str):
        return _parsed(value)
    columns = []
    for spec in value:
        quoted = spec.name.replace("`", "``")
        columns.append(Column(spec.name, _parsed(f"`{quoted}` {spec.type}").fields[0].type))
    return Schema(tuple(columns))
