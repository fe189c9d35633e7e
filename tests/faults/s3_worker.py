"""One attempt to load an epoch into a bucket, in a process that a test may kill. Rows are JSON lines."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from botocore.retries.standard import ExponentialBackoff

from rayetl import failpoints
from rayetl.connectors.base import Epoch, FilesTarget
from rayetl.connectors.commit import SaveMode, ledger
from rayetl.connectors.s3 import session
from rayetl.connectors.s3.account import S3Account
from rayetl.connectors.s3.faults import Precondition
from rayetl.connectors.s3.login import make_client
from rayetl.connectors.s3.session import S3Session
from rayetl.connectors.s3.target import S3Target
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.model import Model
from rayetl.secrets import Credential

# Its descriptions of the service are read once, and not in each process.
make_client(
    S3Account("warm", "http://127.0.0.1:9"),
    Credential.of("warm", "here", {"access_key_id": "none", "secret_access_key": "none"}),
)

IMPATIENT = ExponentialBackoff, "delay_amount", lambda self, context: 0
"""What to set so that the driver does not wait before it tries again."""

COMMITTED, SKIPPED, CONFLICT, REFUSED, BROKEN, LATER = 0, 10, 11, 12, 13, 14


@dataclass(frozen=True)
class Work:
    """What a worker is to do: `parts` are the staged files, each with `rows` rows tagged with the key. `arm`
    and `log` are the failpoint variables; `bug` names a planted fault. `staging` is its own machine's;
    `environment` has the keys, which a process of its own lacks."""

    bucket: str
    prefix: str
    endpoint: str
    staging: str
    key: str
    mode: str = "append"
    parts: tuple[str, ...] = ("0.json", "1.json")
    rows: int = 3
    arm: str = ""
    log: str = ""
    socket: str = ""
    bug: str = ""
    tries: int = 1
    environment: tuple[tuple[str, str], ...] = ()


def rows_of(work: Work) -> list[tuple[str, str, int]]:
    return [(work.key, part, row) for part in work.parts for row in range(work.rows)]


def run(works: Work | list[Work], start_at: float = 0.0) -> None:
    """Load the epochs and leave with a code that says how the last one went."""
    every = works if isinstance(works, list) else [works]
    work = every[0]
    os.environ["RAYETL_FAILPOINT"], os.environ["RAYETL_FAILPOINT_LOG"] = work.arm, work.log
    os.environ["RAYETL_FAILPOINT_SOCKET"] = work.socket
    os.environ.update(work.environment)
    setattr(*IMPATIENT)
    if work.bug:
        BUGS[work.bug]()
    failpoints.rearm()
    time.sleep(max(0.0, start_at - time.time()))
    for each in every:
        code = attempts(each)
    sys.exit(code)


def attempts(work: Work) -> int:
    """As a run makes them: again after what may pass."""
    number, name = 0, f"run-{os.getpid()}-{secrets.token_hex(3)}"
    while (code := _attempt(work, name)) == LATER:
        number += 1
        if number == work.tries:
            break
    return code


def _attempt(work: Work, name: str) -> int:
    place = S3Target(S3Account("lake", work.endpoint), work.bucket, work.prefix)
    target = FilesTarget(directory="", format="json", options=Model())
    epoch = Epoch("flights", "out", work.key, name)
    loading = S3Session(epoch, SaveMode(work.mode), target, lambda _: None, ".json", place, work.staging)
    try:
        if done := loading.committed():
            return SKIPPED if done.status == "skipped" else COMMITTED
        directory = loading.begin()
        if directory is None:
            return SKIPPED
        stage(work, Path(directory.directory))
        loading.commit(len(work.parts) * work.rows)
    except CommitConflict:
        return CONFLICT
    except Retryable:
        loading.abort()
        return LATER
    except LoadError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except failpoints.FailpointError:
        loading.abort()
        return BROKEN
    return COMMITTED


def stage(work: Work, directory: Path) -> None:
    for part in work.parts:
        lines = (json.dumps({"key": work.key, "part": part, "row": row}) for row in range(work.rows))
        (directory / part).write_text("".join(f"{line}\n" for line in lines))


# The planted bugs. Each undoes one thing the protocol rests on.


def _no_condition() -> None:
    """The manifest is written whether there is one or not."""
    write = S3Target.write

    def plain(self, name, data, **more):
        more.pop("IfNoneMatch", None)
        write(self, name, data, **more)

    S3Target.write = plain
    S3Target.assert_conditional = lambda self: None


def _completed_before() -> None:
    """Files are complete before the epoch is decided."""
    send = session.send

    def completed(target, files):
        uploads = send(target, files)
        for (path, name), upload in zip(files, uploads, strict=True):
            target._complete(ledger.DataFile(upload, name, path.stat().st_size), 0)
        return uploads

    session.send = completed


def _no_roll_forward() -> None:
    ledger.Ledger.unpublished = property(lambda self: ())


def _no_key_check() -> None:
    ledger.Ledger.find = lambda self, epoch: None


def _own_work_is_foreign() -> None:
    """Each 412 counts as a conflict."""

    def foreign(self, manifest):
        try:
            self.write(
                f"_rayetl/epochs/{ledger.manifest_name(manifest.number)}",
                manifest.to_bytes(),
                IfNoneMatch="*",
            )
        except Precondition:
            raise self.overtaken() from None

    S3Target.decide = foreign


def _dropped_in_doubt() -> None:
    """Uploads are dropped after every fault of the decision, also where it may have been made."""
    decide = S3Target.decide

    def doubtful(self, manifest):
        try:
            decide(self, manifest)
        except Retryable:
            self.give_up((file.path, file.staged) for file in manifest.files)
            raise

    S3Target.decide = doubtful


def _marked_first() -> None:
    """The epoch counts as published before its files are complete."""
    publish = S3Target.publish

    def early(self, manifest):
        self.write("_rayetl/published", str(manifest.number).encode())
        publish(self, manifest)

    S3Target.publish = early


BUGS = {
    "no_condition": _no_condition,
    "completed_before": _completed_before,
    "no_roll_forward": _no_roll_forward,
    "no_key_check": _no_key_check,
    "own_work_is_foreign": _own_work_is_foreign,
    "dropped_in_doubt": _dropped_in_doubt,
    "marked_first": _marked_first,
}

__all__ = ["BUGS", "Work", "attempts", "rows_of", "run"]
