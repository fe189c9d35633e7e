"""What can be said of a step whose inputs are not known, since something before it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from sqlglot import exp

from rayetl.errors import ConfigPath, Problem, SqlError, UnsupportedSqlError
from rayetl.model import SqlText
from rayetl.sql.functions.table import assert_repeatable, function_called
from rayetl.sql.parse import as_expression, parse_projection, parse_query
from rayetl.steps.fragments import without_order

_MARK = get_args(SqlText)[-1]


def syntax_problems(step: BaseModel, path: ConfigPath) -> Iterator[Problem]:
    """Faults that lie in the SQL texts of a step alone: of syntax, and functions that are not there."""
    for place, text in _texts(step, path):
        try:
            tree = _query(text, place) if place == (*path, "query") else _item(text, place)
        except SqlError as error:
            yield from error.problems
            continue
        for call in tree.find_all(exp.Anonymous):
            if isinstance(call.parent, exp.Table):
                # Functions that stand for tables are others, and Spark has more of them.
                continue
            try:
                assert_repeatable(call)
                function_called(call.name, call)
            except UnsupportedSqlError:
                # Whether it is one depends on the engine, and is told when the step can be looked at.
                continue
            except SqlError as error:
                yield from error.problems


def _query(text: str, place: ConfigPath) -> exp.Expression:
    return as_expression(parse_query(text, place))


def _item(text: str, place: ConfigPath) -> exp.Expression:
    return parse_projection(without_order(text), place)


def _texts(model: BaseModel, path: ConfigPath) -> Iterator[tuple[ConfigPath, str]]:
    for name, field in type(model).model_fields.items():
        is_sql = name != "frame" and (_MARK in field.metadata or _holds_mark(field.annotation))
        yield from _within(getattr(model, name), is_sql, (*path, field.alias or name))


def _within(value: object, is_sql: bool, path: ConfigPath) -> Iterator[tuple[ConfigPath, str]]:
    match value:
        case BaseModel():
            yield from _texts(value, path)
        case str() if is_sql:
            yield path, value
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _within(item, is_sql, (*path, index))
        case dict():
            for key, item in value.items():
                yield from _within(item, is_sql, (*path, key))


def _holds_mark(annotation: Any) -> bool:
    return _MARK in getattr(annotation, "__metadata__", ()) or any(map(_holds_mark, get_args(annotation)))
