"""YAML 1.2 to the tree. Reads parser events: no tag is ever constructed, no alias is ever copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from rayetl.config.builder import TreeBuilder
from rayetl.config.document import Scalar
from rayetl.config.faults import FormError
from rayetl.config.resolve import resolve

_PROBLEMS: tuple[tuple[str, str, str | None], ...] = (
    (
        r"'\\t' that cannot start any token",
        "a tab stands where YAML allows spaces only",
        "indent with spaces",
    ),
    (
        r"character '(?P<what>.+)' that cannot start any token",
        "a text cannot start with '{what}' here",
        "put the text in quotes",
    ),
    (
        r"mapping values are not allowed",
        "a `:` is not expected here",
        "check the indentation, or put the text in quotes if the colon belongs to it",
    ),
    (
        r"could not find expected ':'",
        "this line is neither a `key: value` nor part of the value above",
        "check the indentation, and that the colon is followed by a space",
    ),
    (
        r"expected <block end>, but found '-'|sequence entries are not allowed",
        "a list item `-` is not expected here",
        "check the indentation: the items of one list start in the same column",
    ),
    (
        r"expected <block end>",
        "this does not fit the lines above it",
        "check the indentation: the keys of one mapping start in the same column",
    ),
    (r"expected ',' or '\]'", "the list is not closed: `,` or `]` is expected here", None),
    (r"expected ',' or '}'", "the mapping is not closed: `,` or `}}` is expected here", None),
    (r"node content, but found '<stream end>'", "the file ends where a value is expected", None),
    (r"node content", "a value is expected here", "put the text in quotes"),
    (r"unexpected end of stream|end of stream", "the file ends within a quoted text", "close the quotes"),
    (
        r"chomping or indentation indicators|expected a comment or a line break",
        "the text of a `|` or `>` block starts on the next line",
        "put it there, indented, or put the text in quotes",
    ),
    (r"YAML document \(version|YAML directive", "only YAML 1.2 can be read", "remove the `%YAML` line"),
    (
        r"unknown escape character '(?P<what>.*)'",
        "`\\{what}` is not an escape in double quotes",
        "write two backslashes, or use single quotes",
    ),
    (
        r"expected escape sequence",
        "the escape needs hexadecimal digits: two after `\\x`, four after `\\u`, eight after `\\U`",
        "write two backslashes for one, or use single quotes",
    ),
    (r"unexpected document separator", "`---` stands within a quoted text", "close the quotes"),
    (r"duplicate anchor", "the anchor is defined twice", None),
)


def read_yaml(text: str) -> TreeBuilder:
    """The tree of one YAML document.

    Raises `FormError` where the text is not YAML, holds tags, a second document, or passes a limit.
    """
    builder = TreeBuilder()
    documents = 0
    for event in _events(text):
        name = type(event).__name__
        if name == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                message = "a second document starts here; a config is one document"
                raise FormError("documents", message, event.start_mark.index, "remove the `---`")
        elif name in _HANDLERS:
            _HANDLERS[name](builder, event, text)
    return builder


def _events(text: str) -> Iterator[Any]:
    parser = YAML(typ="safe", pure=True, plug_ins=[])
    events = parser.parse(text)
    while True:
        try:
            event = next(events, None)
        except ReaderError as error:
            code = ord(error.character) if isinstance(error.character, str) else int(error.character)
            message = f"the character U+{code:04X} is not allowed in YAML"
            raise FormError("character", message, int(error.position)) from None
        except MarkedYAMLError as error:
            raise _translated(error, text) from None
        except (ValueError, OverflowError, IndexError, AssertionError, TypeError, AttributeError):
            # ruamel's scanner lets a few faults of escapes and directives through as plain errors.
            raise FormError("syntax", "not valid YAML: an escape or directive cannot be read", -1) from None
        if event is None:
            return
        yield event


def _translated(error: MarkedYAMLError, text: str) -> FormError:
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark is not None else -1
    problem = str(error.problem or error.context or "it cannot be read")
    context = str(error.context or "")
    if "flow" in context and "${" in text[: max(index, 0) + 1].rpartition("\n")[2]:
        message = "a `${...}` between `{ }` or `[ ]` must be in quotes"
        return FormError("syntax", message, index, 'write "${NAME}"')
    for pattern, message, hint in _PROBLEMS:
        match = re.search(pattern, problem)
        if match:
            return FormError("syntax", message.format(**match.groupdict()) + _since(error), index, hint)
    return FormError("syntax", f"not valid YAML: {problem}" + (f" {context}" if context else ""), index)


def _since(error: MarkedYAMLError) -> str:
    start, end = error.context_mark, error.problem_mark
    if start is None or end is None or start.line == end.line:
        return ""
    nouns = {"mapping": "mapping", "sequence": "list", "collection": "list", "scalar": "text"}
    noun = next((nouns[each] for each in nouns if each in str(error.context)), "part before it")
    return f"; the {noun} starts on line {start.line + 1}"


def _scalar(builder: TreeBuilder, event: Any, text: str) -> None:
    _refuse_tag(event)
    start, end = event.start_mark.index, event.end_mark.index
    if any("\ud800" <= character <= "\udfff" for character in event.value):
        raise FormError("character", "half of a surrogate pair is not a character", start)
    style = event.style or ""
    value = event.value if style else resolve(event.value)
    start = _skip_properties(text, start, end, event)
    builder.add(Scalar(start, end, value, event.value, style), event.anchor)


def _skip_properties(text: str, start: int, end: int, event: Any) -> int:
    """Past the anchor, which the event's span begins with."""
    if event.anchor and text.startswith("&", start):
        return min(start + 1 + len(event.anchor), end) + _blanks(text[start + 1 + len(event.anchor) : end])
    return start


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip())


def _refuse_tag(event: Any) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None:
        shown = str(tag).replace("tag:yaml.org,2002:", "!!")
        message = f"the tag `{shown}` is not allowed; a config is plain data without tags"
        raise FormError("tag", message, event.start_mark.index, "remove it")


def _open_mapping(builder: TreeBuilder, event: Any, _: str) -> None:
    _refuse_tag(event)
    builder.open(event.start_mark.index, is_mapping=True, anchor=event.anchor)


def _open_sequence(builder: TreeBuilder, event: Any, _: str) -> None:
    _refuse_tag(event)
    builder.open(event.start_mark.index, is_mapping=False, anchor=event.anchor)


def _close(builder: TreeBuilder, event: Any, _: str) -> None:
    builder.close(event.end_mark.index)


def _alias(builder: TreeBuilder, event: Any, _: str) -> None:
    builder.alias(event.anchor, event.start_mark.index)


_HANDLERS: dict[str, Callable[[TreeBuilder, Any, str], None]] = {
    "ScalarEvent": _scalar,
    "AliasEvent": _alias,
    "MappingStartEvent": _open_mapping,
    "MappingEndEvent": _close,
    "SequenceStartEvent": _open_sequence,
    "SequenceEndEvent": _close,
}
