"""Making a committed epoch visible: file by file in place, or by exchanging whole directories."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from rayetl.connectors.commit.durable import exchange, sync, sync_new_directories, write_synced
from rayetl.connectors.commit.layout import CONTROL, Attempt, Layout, data_files
from rayetl.connectors.commit.ledger import Manifest, manifest_name
from rayetl.errors import BooksError, CommitConflict, LoadError
from rayetl.failpoints import failpoint


def write_manifest(attempt: Attempt, manifest: Manifest) -> None:
    """Lay the manifest ready. Raises `CommitConflict` when the attempt was fenced."""
    with _fenced_means_conflict(attempt):
        write_synced(attempt.manifest, manifest.to_bytes())
        failpoint("commit.manifest_written")
        sync(attempt.directory)
        failpoint("commit.before_decision")


def commit_in_place(layout: Layout, attempt: Attempt, manifest: Manifest) -> None:
    """Enter the manifest into the ledger: the one step that decides. The files are published afterwards.

    Raises `CommitConflict` when the attempt was fenced or another took the manifest's number.
    """
    entry = layout.epochs / manifest_name(manifest.number)
    with _fenced_means_conflict(attempt):
        try:
            os.link(attempt.manifest, entry)
        except FileExistsError:
            # A network file system may repeat a call whose answer was lost, and meet its own work.
            if not entry.samefile(attempt.manifest):
                raise


def publish(layout: Layout, attempt: Attempt, manifest: Manifest) -> None:
    """Move the files of a committed epoch into place; may be repeated from any point on.

    Raises `LoadError` for a file that is neither staged nor in place.
    """
    sync(layout.epochs)
    failpoint("publish.ledger_synced")
    touched = {layout.root}
    for file in manifest.files:
        final = layout.root / file.path
        _make_directory(final.parent, layout.root)
        touched.add(final.parent)
        failpoint("publish.before_rename")
        _move(attempt.data / file.staged, final, file.bytes)
        failpoint("publish.renamed")
    for name in manifest.removes:
        old = layout.root / name
        old.unlink(missing_ok=True)
        failpoint("publish.removed_old")
        if old.parent.is_dir():
            touched.add(old.parent)
    for directory in touched:
        sync_new_directories(directory, layout.root)
    failpoint("publish.synced")
    mark_published(layout, attempt, manifest)
    failpoint("publish.marked")


def mark_published(layout: Layout, attempt: Attempt, manifest: Manifest) -> None:
    """Note that all files of `manifest` are in place. An attempt that was fenced leaves it to its
    successor."""
    attempt.marker.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        write_synced(attempt.marker, str(manifest.number).encode())
        attempt.marker.rename(layout.published)
        sync(layout.control)


WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to remove a directory that others still write into."""


def build_next(layout: Layout, attempt: Attempt, manifest: Manifest) -> None:
    """Build the complete new directory: what stays, the staged files, and the ledger with `manifest`."""
    with _fenced_means_conflict(attempt):
        attempt.next.mkdir()
        os.chmod(attempt.next, stat.S_IMODE(layout.root.stat().st_mode))
        if not manifest.replaces:
            _link_tree(layout.root, attempt.next)
            failpoint("swap.kept_linked")
        for file in manifest.files:
            target = attempt.next / file.path
            _make_directory(target.parent, attempt.next)
            os.link(attempt.data / file.staged, target)
        failpoint("swap.staged_linked")
        written = _carry_ledger(layout, attempt.next / CONTROL, manifest)
        failpoint("swap.ledger_written")
        # After the last is written: a journal then takes them to disk together.
        for path in written:
            sync(path)
        for directory, _, _ in os.walk(attempt.next):
            sync(Path(directory))
        sync(attempt.directory)
        failpoint("swap.before_decision")


def commit_by_exchange(layout: Layout, attempt: Attempt) -> None:
    """Put the new directory in the place of the old one: data and manifest become visible in one step.

    Raises `CommitConflict` when the attempt was fenced, `OSError` where directories cannot be exchanged.
    """
    with _fenced_means_conflict(attempt):
        exchange(attempt.next, layout.root)


def settle_exchange(layout: Layout, attempt: Attempt, manifest: Manifest) -> None:
    """What is left to do after the exchange; the next run does it where this one is killed."""
    failpoint("swap.decided")
    sync(layout.root.parent)
    with contextlib.suppress(FileNotFoundError):
        sync(attempt.directory)
    failpoint("swap.synced")
    if not manifest.replaces:
        rescue_strays(layout, attempt)
        failpoint("swap.strays_kept")


def rescue_strays(layout: Layout, attempt: Attempt) -> None:
    """Carry files over that others put into the old directory while the new one was being built."""
    for name in data_files(attempt.next):
        kept = layout.root / name
        if not os.path.lexists(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.link(attempt.next / name, kept, follow_symlinks=False)


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours; one that is gone already is fine. After a query that failed, Polars may
    still be about to make a file in it, so what comes meanwhile is removed as well."""
    for wait in (*WAITS, None):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if not directory.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or wait is None:
                raise
        else:
            return
        time.sleep(wait or 0)


@contextlib.contextmanager
def _fenced_means_conflict(attempt: Attempt) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, FileExistsError) as error:
        raise _overtaken(attempt) from error


@contextlib.contextmanager
def unless_overtaken(attempt: Attempt) -> Iterator[None]:
    """Files that are missing are a fault, unless they went with the attempt, which another run took over."""
    try:
        yield
    except (BooksError, FileNotFoundError) as error:
        if attempt.directory.exists():
            raise
        raise _overtaken(attempt) from error


def _overtaken(attempt: Attempt) -> CommitConflict:
    return CommitConflict(
        f"attempt {attempt.token} was overtaken: a newer run has taken over this load",
        hint="look at the newer run; nothing of this one is visible",
    )


def _move(staged: Path, final: Path, size: int) -> None:
    try:
        staged.rename(final)
    except FileNotFoundError:
        if not final.is_file() or final.stat().st_size != size:
            raise LoadError(
                f"{final} belongs to a committed epoch, but neither it nor its staged copy {staged} exists",
                hint="restore the file from a backup, or load that epoch again with --force",
            ) from None


def _make_directory(directory: Path, root: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if not directory.resolve().is_relative_to(root):
        raise LoadError(f"{directory} is a symbolic link that leads out of {root}; nothing is written there")


def _link_tree(old: Path, new: Path) -> None:
    for entry in os.scandir(old):
        if entry.name == CONTROL:
            continue
        if entry.is_dir(follow_symlinks=False):
            copy = new / entry.name
            copy.mkdir()
            os.chmod(copy, stat.S_IMODE(entry.stat().st_mode))
            _link_tree(Path(entry.path), copy)
        else:
            os.link(entry.path, new / entry.name, follow_symlinks=False)


def _carry_ledger(layout: Layout, control: Path, manifest: Manifest) -> tuple[Path, Path]:
    """Lay the ledger with `manifest` into a new directory, and give the files that are new."""
    (control / "epochs").mkdir(parents=True)
    os.link(layout.lock, control / layout.lock.name)
    for entry in os.scandir(layout.epochs):
        os.link(entry.path, control / "epochs" / entry.name)
    added, published = control / "epochs" / manifest_name(manifest.number), control / layout.published.name
    added.write_bytes(manifest.to_bytes())
    published.write_text(str(manifest.number))
    return added, published
