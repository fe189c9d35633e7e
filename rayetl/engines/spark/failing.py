"""What is said when Spark fails: one sentence, with the source or step that it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats import find_damage
from rayetl.errors import RayetlError, SourceError, Terminal
from rayetl.plan.nodes import Plan, StepNode

_REPORT = "run again with --debug for the details; nothing was committed"
_TOO_DEEP = "java.lang.StackOverflowError"
_SPLIT = (
    "compute a deep expression in several columns; of very many steps load an early one into files, and read "
    "those in a second pipeline"
)
_OURS = "rayetl's own readers read it: run with `engine: polars`, or have the file written by another program"
_FILE = re.compile(r"Encountered error while reading file file:/+(\S+)\. Details:")
_CAUSE = re.compile(r"^(?:Caused by: )?(?:[a-z]\w*\.)+[A-Z][\w$]*(?:Exception|Error): (.+)$", re.MULTILINE)


@contextmanager
def told_plainly(plan: Plan, node: str | None = None) -> Iterator[None]:
    """Faults of Spark as one sentence of ours; that of a damaged file names the file, any other the step or
    load `node`."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except RayetlError:
        raise
    except (Py4JError, PySparkException) as fault:
        for source in plan.sources:
            if isinstance(source.scan, FilesScan) and (damage := find_damage(source.scan)):
                raise damage from fault
        if path := _unread(plan, str(fault)):
            raise SourceError(f"Spark cannot read the file {path}: {said(fault)}", hint=_OURS) from fault
        step = None if node is None else owner(plan, node)
        if _TOO_DEEP in str(fault):
            raise Terminal("this is nested too deeply for Spark", hint=_SPLIT, step=step) from fault
        raise Terminal(f"Spark failed: {said(fault)}", hint=_REPORT, step=step) from fault


def _unread(plan: Plan, fault: str) -> str | None:
    """The file of a source that Spark gave up on, though nothing is wrong with it."""
    found = _FILE.search(fault)
    if found is None:
        return None
    path = Path("/", unquote(found[1]))
    scans = [source.scan for source in plan.sources if isinstance(source.scan, FilesScan)]
    return next(
        (file.path for scan in scans for file in scan.files if Path(file.path).absolute() == path), None
    )


def owner(plan: Plan, node: str) -> str:
    """The id as the config knows it: a contract belongs to its source or load."""
    found = plan.nodes[node]
    is_contract = isinstance(found, StepNode) and found.kind == "contract"
    return node.removesuffix(".contract") if is_contract else node


def said(fault: BaseException) -> str:
    """The first line of the innermost cause; where Spark was lost, that."""
    text = str(fault)
    causes = _CAUSE.findall(text)
    line = (causes[-1] if causes else text).strip().splitlines() or [type(fault).__name__]
    return line[0].rstrip(".")[:500]
