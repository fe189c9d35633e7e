"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

from rayetl.config.document import Document, Mapping, Node, Scalar, Sequence
from rayetl.config.json_reader import read_json
from rayetl.config.yaml_reader import read_yaml

GOOD = """\
name: delays
vars: {year: 2013}
extract:
  flights: {type: files, path: data/flights.csv, format: csv, options: {header: true}}
  airlines: {type: files, path: [data/airlines.parquet]}
transform:
  - {type: filter, where: "dep_delay > 0"}
  - {type: join, with: airlines, on: carrier, how: left}
  - {id: daily, type: aggregate, groupBy: [name], metrics: {n: "count(*)"}}
  - {type: sort, by: n DESC}
  - {type: limit, rows: 10}
load:
  - {type: files, path: "out/${year}", mode: overwrite}
max_reject_share: 1%
tests:
  - name: counts
    given: {flights: [{carrier: UA, dep_delay: 1}]}
    expect: {daily: [{name: United, n: 1}]}
"""


def document(text: str, *, json: bool = False) -> Document:
    root = (read_json if json else read_yaml)(text).root
    assert root is not None
    return Document(text, "f.yaml", root)


def scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Mapping):
        for entry in node.entries.values():
            yield from scalars(entry.value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from scalars(item)
    elif isinstance(node, Scalar):
        yield node
