"""Every character of every value leads back to its own place in the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from ruamel.yaml import YAML

from rayetl.config.checked import check_document
from rayetl.config.document import Document, Scalar, plain
from rayetl.config.offsets import source_index
from rayetl.errors import Problem
from rayetl.model import Model

from .documents import document, scalars

STYLES = """\
literal: |
  SELECT x,
    y

  FROM t
stripped: |-
    a

    b
kept: |+
  a

folded: >
  one two
  three

    more indented
    yes

  four


  five
indented: |2
    two more
   one more
single: 'it''s
  folded

  twice'
double: "esc \\x41 \\u00e9 \\U0001F600 \\"q\\" cont \\
   inued \\t end
   next"
plain: text over
  two lines

  and more
flow: [x, {y: 'z'}, "w", plain words]
anchored: &name |-
  q w
emoji: "\U0001f600 after"
"""


def each_character(text: str, *, as_json: bool = False) -> None:
    made = document(text, json=as_json)
    for scalar in scalars(made.root):
        for offset, character in enumerate(scalar.text):
            index = source_index(text, scalar, offset)
            escaped = scalar.style == '"' and text[index] == "\\"
            assert text[index] == character or character.isspace() or escaped, (scalar, offset, index)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_all_styles(ending: str) -> None:
    each_character(STYLES.replace("\n", ending))


def test_a_long_text_may_have_thousands_of_places() -> None:
    long = "SELECT it, 's' " * 3_000
    for written in (json.dumps(long), long, f"|-\n  {long}", "'" + long.replace("'", "''") + "'"):
        each_character(f"a: {written}\n")


def test_json() -> None:
    each_character('{"a": "b\\u00e9 \\ud83d\\ude00 x \\n y \\/ z", "c": ["d", 1]}', as_json=True)


words = st.text(alphabet="ab,'\"() \n\\:#{}-é", min_size=1, max_size=40).filter(lambda text: text.strip())


@given(words)
@settings(max_examples=200, deadline=None)
def test_any_text_as_json(text: str) -> None:
    each_character(json.dumps({"a": text}), as_json=True)
    each_character(json.dumps({"a": text}))


@given(
    st.lists(st.text(alphabet="ab,'()é =", min_size=1, max_size=20).map(str.strip), min_size=1, max_size=5)
)
@settings(max_examples=200, deadline=None)
def test_any_lines_as_blocks(lines: list[str]) -> None:
    lines = [line for line in lines if line] or ["x"]
    for mark in ("|", ">", "|-", ">+"):
        text = f"a: {mark}\n" + "".join(f"    {line}\n" for line in lines)
        each_character(text)
        assert plain(document(text).root) == YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize(
    ("text", "word", "place"),
    [
        ("a: SELECT x FROM t\n", "FROM", (1, 13)),
        ("a: 'it''s x'\n", "x", (1, 11)),
        ('a: "\\"q\\" x"\n', "x", (1, 11)),
        ("a: |\n  SELECT\n    x\n", "x", (3, 5)),
        ("a: >-\n  SELECT\n  x\n", "x", (3, 3)),
        ("- a:\n    b: 'q\n      x'\n", "x", (3, 7)),
    ],
)
def test_line_and_column(text: str, word: str, place: tuple[int, int]) -> None:
    made = document(text)
    scalar = next(iter(scalars(made.root)))
    assert made.line_and_column(source_index(text, scalar, scalar.text.index(word))) == place


class Two(Model):
    sql: str
    group_by: list[str] = Field(default=[])


TEXT = """\
groupBy:
  - x
sql: |
  SELECT ${columns}
    FROM nowhere
"""


def test_place_finds_either_spelling_and_sees_through_variables() -> None:
    loaded = check_document(document(TEXT), Two, [], {"columns": "a, b, c, d, e, f"})
    sql = loaded.config.sql
    assert sql == "SELECT a, b, c, d, e, f\n  FROM nowhere\n"

    def at(path: tuple[str | int, ...], offset: int | None = None) -> tuple[int | None, int | None]:
        placed = loaded.place(Problem("x", "x", path, offset=offset))
        return placed.line, placed.column

    assert at(("group_by", 0)) == at(("groupBy", 0)) == (2, 5)
    assert at(("sql",)) == (3, 6)
    assert at(("sql",), sql.index("SELECT")) == (4, 3)
    assert at(("sql",), sql.index("c")) == (4, 10), "inside of what a variable brought: the variable"
    assert at(("sql",), sql.index("nowhere")) == (5, 10)
    assert at(("sql", "deeper", 3), 0) == (4, 3), "what the document has not leads to the nearest value"


def test_the_end_of_a_text_has_a_place() -> None:
    made = document("a: 'x'\n")
    scalar = next(iter(scalars(made.root)))
    assert source_index(made.text, scalar, 1) == 5
    assert source_index(made.text, Scalar(-1, -1, "x", "x"), 0) == -1
    assert Document("", None, scalar).place(Problem("x", "x", line=3)).line == 3
