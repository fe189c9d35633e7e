"""Which files of growing folders were taken: each run of an incremental pipeline is one batch of them.

Below the state directory are noted the files that were taken (`taken.parquet`) and, before any load begins,
the batch under way (`batch.json`). Its number is its run key, so the ledger of each load knows it. A run that
finds the batch of another one asks the loads: held by none, it is given up and its files are new again; held
by some, the others get it now, of the very same files; held by all, it is over. A load that holds a batch of
a run that is not noted here knows more than these notes, which then are not the latest: that stops a run
before a row is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import Epoch, FilesScan, InputFile
from rayetl.connectors.commit.durable import replace_synced, sync
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.listing import shown, version_of
from rayetl.errors import Problem, SourceError, Terminal, at_step
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.plan.growing import REPLACING, growing
from rayetl.plan.nodes import Plan, SourceNode
from rayetl.plan.streaming import rows_of
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")


_LACKING = (
    "{} does not hold {}, the batch before: it came later or was emptied, and gets none of the files that "
    "were taken until then"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """The files of a run by the ids of their sources, and the runs that have tried to load them."""

    number: int
    files: Mapping[str, Sequence[InputFile]]
    runs: tuple[str, ...]

    @property
    def key(self) -> str:
        """The run key."""
        return _key(self.number)

    def of(self, plan: Plan) -> Plan:
        """The plan over the files of the batch. A source that came to the config since has none in it."""
        return replace(plan, sources=tuple(self._cut(node) for node in plan.sources))

    def _cut(self, node: SourceNode) -> SourceNode:
        if not node.source.is_incremental():
            return node
        assert isinstance(node.scan, FilesScan)
        return replace(node, scan=replace(node.scan, files=tuple(self.files.get(node.id, ()))))


@dataclass(slots=True)
class Taken:
    """The notes of a pipeline, in the hands of one run."""

    directory: Path
    run: str
    batch: Batch | None = field(default=None, init=False)

    def is_idle(self) -> bool:
        """Whether all files that were ever found are in all loads."""
        return self._noted() is None

    def drained(self, sources: Collection[str]) -> frozenset[str]:
        """Those of all incremental sources that had files once."""
        taken = self._read()
        return frozenset(each for each in sources if not _known(taken, each, sources).is_empty())

    def next(self, plan: Plan, *, again: bool) -> Batch | None:
        """The batch of this run, which is noted; with `again`, of files that were taken before too. `None`
        where there is no new file.

        Raises `SourceError` for files that are other ones than those that were taken, and `Terminal` where
        the notes are damaged or not the latest.
        """
        noted = self._noted()
        if noted is not None and not again:
            holders = self._holders(plan, noted)
            if holders and len(holders) < len(plan.loads):
                return self._begin(self._rest(plan, noted, holders))
            if holders:
                self._over(noted)
            else:
                self._forget()
        taken = self._read()
        files = {node.id: _new(plan, node, taken, again) for node in growing(plan)}
        if not any(files.values()):
            return None
        number = _last(taken) + 1
        return self._begin(Batch(self._free(plan, number) if again else number, files, ()))

    def warned(self, plan: Plan) -> Plan:
        """The plan, with a warning for each load that has not got the batch before this one."""
        last = _last(self._read())
        held = self._held(plan, last) if last else {load.id for load in plan.loads}
        lacking = [load for load in plan.loads if load.id not in held]
        warnings = [Problem("plan", _LACKING.format(load.id, _key(last)), load.path) for load in lacking]
        return replace(plan, warnings=(*plan.warnings, *warnings))

    def loaded(self) -> None:
        """Every load holds the batch."""
        noted = self._noted()
        assert noted is not None
        self._over(noted)

    # The batch under way

    def _begin(self, batch: Batch) -> Batch:
        self.batch = batch = replace(batch, runs=(*batch.runs, self.run))
        files = {
            source: [[_path(file), file.size, version_of(file)] for file in found]
            for source, found in batch.files.items()
        }
        noted = {"number": batch.number, "runs": batch.runs, "files": files}
        self._put("batch.json", json.dumps(noted).encode())
        failpoint("taken.noted")
        return batch

    def _noted(self) -> dict[str, Any] | None:
        """The batch under way. One that is among the taken files is over."""
        path = self.directory / "batch.json"
        try:
            noted: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise _damaged(path) from error
        if not isinstance(noted, dict) or not {"number", "runs", "files"} <= noted.keys():
            raise _damaged(path)
        if noted["number"] > _last(self._read()):
            return noted
        self._forget()
        return None

    def _holders(self, plan: Plan, noted: Mapping[str, Any]) -> list[str]:
        """The loads that hold the batch."""
        held = self._held(plan, noted["number"])
        for load, run in held.items():
            assert_known(run, noted["runs"], load, _key(noted["number"]))
        return list(held)

    def _held(self, plan: Plan, number: int) -> dict[str, str]:
        """The loads that hold a batch of this number, each with the run that loaded it."""
        found = {}
        for load in plan.loads:
            assert load.schema is not None
            session = load.load.open(Epoch(plan.name, load.id, _key(number), self.run), load.schema)
            with at_step(load.id):
                try:
                    result = session.committed()
                finally:
                    session.abort()
            if result is not None:
                found[load.id] = result.run
        return found

    def _free(self, plan: Plan, number: int) -> int:
        """The first number from `number` on that no load holds; they hold all before it."""
        held, step = number - 1, 1
        while self._held(plan, held + step):
            held, step = held + step, step * 2
        while step > 1:
            step //= 2
            held += step if self._held(plan, held + step) else 0
        return held + 1

    def _rest(self, plan: Plan, noted: Mapping[str, Any], holders: Sequence[str]) -> Batch:
        """The batch again, of the files that it was made of."""
        files: dict[str, list[InputFile]] = {}
        for source, wanted in noted["files"].items():
            node = plan.nodes.get(source)
            scan = node.scan if isinstance(node, SourceNode) else None
            listed = {
                (_path(file), file.size, version_of(file)): file
                for file in (scan.files if isinstance(scan, FilesScan) else ())
            }
            for path, size, version in wanted:
                if (path, size, version) not in listed:
                    missing = sorted({load.id for load in plan.loads} - set(holders))
                    raise SourceError(
                        f"{path} of batch {noted['number']} is not there any more as it was, and "
                        f"{', '.join(missing)} has not got its rows yet",
                        hint="put it back; or run with --force, by which every load gets every file again",
                    )
            files[source] = [listed[path, size, version] for path, size, version in wanted]
        return Batch(noted["number"], files, tuple(noted["runs"]))

    def _over(self, noted: Mapping[str, Any]) -> None:
        rows = [
            (source, path, size, version, noted["number"])
            for source, files in noted["files"].items()
            for path, size, version in files
        ]
        new = pl.DataFrame(rows, schema=_columns(), orient="row")
        failpoint("taken.loaded")
        self._put("taken.parquet", _as_parquet(pl.concat([self._read(), new])))
        failpoint("taken.added")
        self._forget()

    def _forget(self) -> None:
        with _writing(self.directory):
            (self.directory / "batch.json").unlink(missing_ok=True)
            sync(self.directory)

    # The files that were taken

    def _read(self) -> pl.DataFrame:
        path = self.directory / "taken.parquet"
        if not path.exists():
            return pl.DataFrame(schema=_columns())
        try:
            return pl.read_parquet(path, schema=_columns(), glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _damaged(path) from error

    def _put(self, name: str, data: bytes) -> None:
        with _writing(self.directory):
            replace_synced(self.directory / name, data)


@contextmanager
def taking(state: Path, pipeline: str, run: str) -> Iterator[Taken]:
    """The notes of a pipeline, for this run alone. Raises `CommitConflict` while another has them, and
    `Terminal` where they cannot be written."""
    directory = state / "incremental" / pipeline
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = Lock.acquire(directory / "lock", run, pipeline)
    try:
        yield Taken(directory, run)
    finally:
        lock.release()


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Terminal(
            f"the state directory {directory} cannot be written: {error.strerror}",
            hint="what was taken is noted there; see to its disk and rights and run again: what a load has "
            "got is recognised",
        ) from error


def assert_known(run: str, runs: Sequence[str], load: str, key: str) -> None:
    """Raise `Terminal` if a load got a batch of a run that is not among the `runs` of that batch."""
    if run not in runs:
        raise Terminal(
            f"it holds {key} of the run {run}, of which the notes of this pipeline know nothing",
            step=load,
            hint="is `state` an old copy, or another one than that run had? go on with the latest; --force "
            "loads every file again",
        )


def _key(number: int) -> str:
    return f"incremental-{number}"


def _columns() -> dict[str, Any]:
    texts = dict.fromkeys(("source", "path", "version"), pl.String())
    columns = {**texts, "size": pl.Int64(), "batch": pl.Int64()}
    return {name: columns[name] for name in ("source", "path", "size", "version", "batch")}


def _last(taken: pl.DataFrame) -> int:
    """The number of the last batch that is over."""
    return int(taken["batch"].max() or 0)  # type: ignore[arg-type]


def _as_parquet(frame: pl.DataFrame) -> bytes:
    import io

    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def _path(file: InputFile) -> str:
    """The name that a file goes by, wherever a run was started."""
    return file.path if file.store is not None else shown(os.path.abspath(file.path))


def _known(taken: pl.DataFrame, source: str, sources: Collection[str]) -> pl.DataFrame:
    """What was taken by one of `sources`, and by those that the config has no more: it may be another name of
    one."""
    return taken.filter(~pl.col("source").is_in([other for other in sources if other != source]))


def _new(plan: Plan, node: SourceNode, taken: pl.DataFrame, again: bool) -> list[InputFile]:
    """The files of a source that were not taken before."""
    assert isinstance(node.scan, FilesScan)
    files = node.scan.files
    if again:
        return list(files)
    known = _known(taken, node.id, [other.id for other in growing(plan)])
    known = known.unique("path", keep="last", maintain_order=True)
    listed = pl.DataFrame(
        [(_path(file), file.size, version_of(file)) for file in files],
        schema={"path": pl.String, "size": pl.Int64, "version": pl.String},
        orient="row",
    )
    found = listed.join(known, on="path", how="left", maintain_order="left")
    is_new = found["batch"].is_null()
    is_other = ~is_new & (
        (found["size"] != found["size_right"]) | (found["version"] != found["version_right"])
    )
    fed = rows_of(plan, node.id)
    if is_other.any() and any(load.input in fed and load.load.mode != REPLACING for load in plan.loads):
        path, batch = found.filter(is_other).select("path", "batch").row(0)
        more = f" and {is_other.sum() - 1} more" if is_other.sum() > 1 else ""
        raise SourceError(
            f"{path}{more} changed since batch {batch} took it, so some of its rows would be loaded twice",
            hint="put new rows into new files; to load a whole file again, give it another name",
        )
    return [file for file, wanted in zip(files, is_new | is_other, strict=True) if wanted]


def _damaged(path: Path) -> Terminal:
    return Terminal(
        f"{path}, which says what files were taken, is damaged",
        hint="restore it from a backup: without it all files would be loaded again",
    )
