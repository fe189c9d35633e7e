"""One attempt to load an epoch, in a process that a test may kill. Rows are JSON lines: no engine needed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rayetl import failpoints
from rayetl.connectors.base import Epoch, FilesTarget
from rayetl.connectors.commit import DirectorySession, SaveMode, ledger, lock, publish, session
from rayetl.connectors.commit.layout import Layout
from rayetl.errors import CommitConflict, LoadError
from rayetl.model import Model

COMMITTED, SKIPPED, CONFLICT, REFUSED, BROKEN = 0, 10, 11, 12, 13


@dataclass(frozen=True)
class Work:
    """What a worker is to do. `parts` are the staged files, relative; each gets `rows` rows tagged with
    the key. `arm` and `log` are the failpoint variables; `bug` names a planted fault."""

    root: str
    key: str
    mode: str = "append"
    parts: tuple[str, ...] = ("0.json",)
    rows: int = 5
    swap: bool = True
    arm: str = ""
    log: str = ""
    socket: str = ""
    bug: str = ""


def rows_of(work: Work) -> list[tuple[str, str, int]]:
    return [(work.key, part, row) for part in work.parts for row in range(work.rows)]


def run(work: Work, start_at: float = 0.0) -> None:
    """Load the epoch and leave with a code that says how it went."""
    os.environ["RAYETL_FAILPOINT"], os.environ["RAYETL_FAILPOINT_LOG"] = work.arm, work.log
    os.environ["RAYETL_FAILPOINT_SOCKET"] = work.socket
    if work.bug:
        BUGS[work.bug]()
    if not work.swap:
        session.Layout = WithoutSwap
    failpoints.rearm()
    time.sleep(max(0.0, start_at - time.time()))
    sys.exit(attempt(work))


class WithoutSwap(Layout):
    @classmethod
    def of(cls, path: str) -> Layout:
        return replace(Layout.of(path), swap=False)


def attempt(work: Work) -> int:
    target = FilesTarget(directory="", format="json", options=Model())
    epoch = Epoch("flights", "out", work.key, f"run-{os.getpid()}")
    loading = DirectorySession(epoch, SaveMode(work.mode), target, lambda _: None, ".json", work.root)
    try:
        if loading.committed():
            return SKIPPED
        place = loading.begin()
        if place is None:
            return SKIPPED
        stage(work, Path(place.directory))
        loading.commit(len(work.parts) * work.rows)
    except CommitConflict:
        return CONFLICT
    except LoadError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except failpoints.FailpointError:
        loading.abort()
        return BROKEN
    return COMMITTED


def stage(work: Work, directory: Path) -> None:
    for part in work.parts:
        path = directory / part
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(
            json.dumps({"key": work.key, "part": part, "row": row}) + "\n" for row in range(work.rows)
        )
        path.write_text("" if work.bug == "manifest_before_data" else text)
        if work.bug == "manifest_before_data":
            _LATE[str(path)] = text


_LATE: dict[str, str] = {}


# The planted bugs. Each undoes one thing the protocol rests on.


def _token_after_data() -> None:
    """Publishes first and enters the epoch into the ledger in a second step."""
    write = session.write_manifest

    def publish_first(attempt, manifest):
        root = attempt.directory.with_name(attempt.directory.name.split(".")[1])
        for file in manifest.files:
            os.link(attempt.data / file.staged, root / file.path)
        write(attempt, manifest)

    session.write_manifest = publish_first


def _no_roll_forward() -> None:
    ledger.Ledger.unpublished = property(lambda self: ())


def _swallowed_rename() -> None:
    """A rename that fails (full disk) is not noticed."""

    def move(staged, final, size):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            pass

    publish._move = move


def _manifest_before_data() -> None:
    """The rows are written after the epoch was decided."""
    real = session.publish

    def late(layout, attempt, manifest):
        for path, text in _LATE.items():
            Path(path).write_text(text)
        real(layout, attempt, manifest)

    session.publish = late


def _no_key_check() -> None:
    ledger.Ledger.find = lambda self, epoch: None


def _no_fence() -> None:
    """Nobody takes the right to commit away from older attempts."""
    session.Layout.attempts = lambda self: iter(())


def _no_lock() -> None:
    lock._take = lambda descriptor, path: True


def _check_then_append() -> None:
    """No lock and no fence, and a manifest that overwrites the one that got there first."""
    _no_lock()
    _no_fence()
    real = publish.os.link

    def link(source, target, **more):
        if str(target).endswith(".json") and Path(target).exists():
            Path(target).unlink()
        real(source, target, **more)

    class Os:
        def __getattr__(self, name):
            return link if name == "link" else getattr(os, name)

    publish.os = Os()


def _swallowed_conflict() -> None:
    """Being overtaken is noticed and ignored: the rows are published all the same."""

    def commit(layout, attempt, manifest):
        with contextlib.suppress(CommitConflict):
            real(layout, attempt, manifest)

    real = session.commit_in_place
    session.commit_in_place = commit
    _no_lock()
    _no_fence()


def _part_by_part() -> None:
    """Many files are appended one after the other though they could be exchanged in one step."""
    session.DirectorySession._swapped = lambda self, attempt, manifest: False


BUGS = {
    "token_after_data": _token_after_data,
    "no_roll_forward": _no_roll_forward,
    "swallowed_rename": _swallowed_rename,
    "manifest_before_data": _manifest_before_data,
    "no_key_check": _no_key_check,
    "no_fence": _no_fence,
    "check_then_append": _check_then_append,
    "swallowed_conflict": _swallowed_conflict,
    "part_by_part": _part_by_part,
}

__all__ = ["BUGS", "Work", "rows_of", "run"]
