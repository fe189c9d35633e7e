"""The options of each file format as a config writes them. The names are Spark's; all of them work."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from rayetl.connectors.formats.patterns import PatternError, compile_pattern
from rayetl.model import Model
from rayetl.sql.literals import known_time_zone


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(
            f"{name!r} is not a known encoding; for example UTF-8, ISO-8859-1, UTF-16LE"
        ) from None
    return name


def _single(value: object) -> object:
    if isinstance(value, str) and len(value) > 1:
        raise ValueError(f"one character is allowed here, found {value!r}")
    return value


def _pattern(text: str) -> str:
    try:
        compile_pattern(text)
    except PatternError as error:
        raise ValueError(str(error)) from None
    return text


def _zoneless(text: str) -> str:
    if "zone" in compile_pattern(text).fields:
        raise ValueError(f"the pattern {text!r} has a time zone, which these timestamps have none of")
    return text


_SIGNS = {"t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


def _separator(value: object) -> object:
    """With Spark's escapes resolved: `\\t`, `\\\\` and so on."""
    if not isinstance(value, str) or value == "\\" or "\\" not in value:
        return value
    found, at = "", 0
    while at < len(value):
        if value[at] != "\\":
            found += value[at]
            at += 1
            continue
        sign = value[at + 1 : at + 2]
        if sign not in _SIGNS or not sign:
            raise ValueError(f"{value!r} has an unknown escape; a backslash itself is written twice")
        found += _SIGNS[sign]
        at += 2
    return found


Encoding = Annotated[str, AfterValidator(_known_encoding)]
Character = Annotated[str, BeforeValidator(_single)]
DatePattern = Annotated[str, AfterValidator(_pattern)]
Separator = Annotated[str, BeforeValidator(_separator), Field(min_length=1)]
TimeZone = Annotated[str, AfterValidator(known_time_zone)]


class ListingOptions(Model):
    """Which files of a directory are read."""

    recursive_file_lookup: bool = Field(
        default=False,
        description="Take the files of all directories below, and no columns from directory names.",
    )
    path_glob_filter: str | None = Field(
        default=None, description="Read only files whose name fits, such as `*.csv`.", examples=["*.csv"]
    )

    @model_validator(mode="before")
    @classmethod
    def _no_corrupt_column(cls, value: object) -> object:
        if isinstance(value, dict) and value.keys() & {
            "columnNameOfCorruptRecord",
            "column_name_of_corrupt_record",
        }:
            raise ValueError(
                "columnNameOfCorruptRecord is not used: "
                "malformed records go to the rejects with their source bytes"
            )
        return value


class ParquetOptions(ListingOptions):
    """How Parquet is read."""

    merge_schema: bool = Field(
        default=False,
        description="Unite the columns of all files; otherwise the first file says what columns there are.",
    )


class AvroOptions(ListingOptions):
    """How Avro is read: the files say it all themselves."""


class TextOptions(ListingOptions):
    """What CSV and JSON have in common."""

    multi_line: bool = Field(default=False, description="A record may span several lines.")
    line_sep: str | None = Field(
        default=None,
        min_length=1,
        max_length=2,
        description="The end of a line; by default any of \\n, \\r\\n and \\r.",
        examples=["\n"],
    )
    date_format: DatePattern | None = Field(
        default=None, description="Java pattern of dates.", examples=["dd/MM/yyyy"]
    )
    timestamp_format: DatePattern | None = Field(
        default=None, description="Java pattern of timestamps.", examples=["yyyy-MM-dd HH:mm:ss"]
    )
    timestamp_ntz_format: Annotated[DatePattern, AfterValidator(_zoneless)] | None = Field(
        default=None,
        validation_alias=AliasChoices("timestamp_ntz_format", "timestampNTZFormat", "timestampNtzFormat"),
        description="Java pattern of timestamps without time zone.",
        examples=["yyyy-MM-dd'T'HH:mm:ss"],
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="Time zone of timestamps that name none; by default the pipeline's.",
        examples=["Europe/Vienna"],
    )
    sampling_ratio: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the records that types are inferred from.",
        examples=[0.1],
    )


class CsvOptions(TextOptions):
    """How CSV is read."""

    header: bool = Field(default=False, description="The first line of each file holds the column names.")
    sep: Separator = Field(
        default=",",
        validation_alias=AliasChoices("sep", "delimiter"),
        description="What stands between two fields; one character or several.",
        examples=[";"],
    )
    quote: Character = Field(
        default='"', description="The quote character; empty: fields are not quoted.", examples=["'"]
    )
    escape: Character = Field(
        default="\\",
        description="The character that stands before a quote inside a quoted field.",
        examples=['"'],
    )
    comment: Character | None = Field(
        default=None, description="Lines that begin with this character are left out.", examples=["#"]
    )
    null_value: str = Field(default="", description="The text that stands for NULL.", examples=["NA"])
    empty_value: str = Field(
        default="", description='What a quoted empty field (`""`) is read as.', examples=["-"]
    )
    nan_value: str = Field(
        default="NaN", description="The text that stands for not-a-number.", examples=["nan"]
    )
    positive_inf: str = Field(
        default="Inf", description="The text that stands for infinity.", examples=["inf"]
    )
    negative_inf: str = Field(
        default="-Inf", description="The text that stands for negative infinity.", examples=["-inf"]
    )
    encoding: Encoding = Field(
        default="UTF-8",
        validation_alias=AliasChoices("encoding", "charset"),
        description="Character encoding of the files.",
        examples=["ISO-8859-1"],
    )
    ignore_leading_white_space: bool = Field(default=False, description="Cut blanks before a field.")
    ignore_trailing_white_space: bool = Field(default=False, description="Cut blanks after a field.")
    infer_schema: bool = Field(
        default=False, description="Find the types by reading all data once; otherwise all is STRING."
    )
    prefer_date: bool = Field(default=True, description="Infer DATE where all texts are dates.")
    enforce_schema: bool = Field(
        default=True,
        description="Fields go to columns by place; `false`: the header must have the schema's names.",
    )


class JsonOptions(TextOptions):
    """How JSON is read: an object a line, or with `multi_line` whole documents."""

    encoding: Encoding | None = Field(
        default=None,
        validation_alias=AliasChoices("encoding", "charset"),
        description="Character encoding of the files; found out by default.",
        examples=["ISO-8859-1"],
    )
    primitives_as_string: bool = Field(default=False, description="Infer STRING for every plain value.")
    prefers_decimal: bool = Field(default=False, description="Infer DECIMAL for numbers with a point.")
    allow_single_quotes: bool = Field(default=True, description="Accept 'text' beside \"text\".")
    allow_comments: bool = Field(default=False, description="Accept /* comments */ and // comments.")
    allow_unquoted_field_names: bool = Field(default=False, description="Accept {name: 1}.")
    allow_non_numeric_numbers: bool = Field(default=True, description="Accept NaN and Infinity.")
    allow_numeric_leading_zeros: bool = Field(default=False, description="Accept 007.")


FormatName = Literal["parquet", "csv", "json", "avro"]
ReadOptions = CsvOptions | JsonOptions | ParquetOptions | AvroOptions

OPTIONS: dict[str, type[ReadOptions]] = {
    "parquet": ParquetOptions,
    "csv": CsvOptions,
    "json": JsonOptions,
    "avro": AvroOptions,
}
"""The options model of each format."""
