"""A damaged ledger stops a load and names the file; it is never taken for an empty one."""

from __future__ import annotations

import errno
import itertools
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from rayetl.connectors.base import Epoch
from rayetl.connectors.commit import ledger, publish, session
from rayetl.connectors.commit.ledger import Ledger, Manifest, reach
from rayetl.connectors.files_load import FilesLoad
from rayetl.errors import BooksError, CommitConflict, LoadError
from rayetl.sql.types import LONG, Field, Schema

SCHEMA = Schema((Field("a", LONG),))
RUNS = itertools.count()


def open_load(path: Path, key: str, mode: str = "append", form: str = "csv"):
    load = FilesLoad.model_validate({"type": "files", "path": str(path), "mode": mode, "format": form})
    return load.open(Epoch("p", "out", key, f"run-{next(RUNS)}"), SCHEMA)


def load(path: Path, key: str, mode: str = "append", files: int = 1):
    opened = open_load(path, key, mode)
    if done := opened.committed():
        return done
    target = opened.begin()
    if target is None:
        return None
    for number in range(files):
        Path(target.directory, f"{number}.csv").write_text("a\n1\n")
    return opened.commit(files)


@pytest.fixture
def three(tmp_path) -> Path:
    root = tmp_path / "out"
    for key in ("k1", "k2", "k3"):
        assert load(root, key).status == "committed"
    return root


def read(root: Path) -> Ledger:
    return Ledger.read(root / "_rayetl" / "epochs", root / "_rayetl" / "published")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_manifest_cut_at_any_byte_is_noticed(three, number):
    path = three / "_rayetl" / "epochs" / f"{number:06d}.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(LoadError, match=f"{number:06d}.json"):
            read(three)


def test_a_flipped_bit_is_noticed_or_means_the_same(three):
    path = three / "_rayetl" / "epochs" / "000002.json"
    whole = path.read_bytes()
    intact = Manifest.from_bytes(whole)
    chance = random.Random(7)
    for _ in range(1500):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            assert Manifest.from_bytes(bytes(damaged)) == intact
        except (ValueError, TypeError, KeyError):
            continue


def test_missing_foreign_and_shuffled_manifests_are_noticed(three, tmp_path):
    epochs = three / "_rayetl" / "epochs"
    manifests = {path: path.read_bytes() for path in epochs.iterdir()}
    first, second, third = sorted(manifests)
    for change in (
        first.unlink,
        third.unlink,
        lambda: second.write_bytes(manifests[third]),
        (three / "_rayetl" / "published").unlink,
        lambda: (first.unlink(), first.mkdir()),
    ):
        change()
        with pytest.raises(LoadError, match="damaged"):
            load(three, "k4")
        if first.is_dir():
            first.rmdir()
        for path, data in manifests.items():
            path.write_bytes(data)
        (three / "_rayetl" / "published").write_text("3")
    assert load(three, "k4").status == "committed"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", ""])
def test_no_manifest_names_a_file_outside_its_directory(three: Path, name: str) -> None:
    intact = Manifest.from_bytes((three / "_rayetl" / "epochs" / "000002.json").read_bytes())
    (file,) = intact.files
    for changed in (
        replace(intact, files=(replace(file, path=name),)),
        replace(intact, files=(replace(file, staged=name),)),
        replace(intact, removes=(name,)),
    ):
        with pytest.raises(ValueError, match="outside its directory"):
            Manifest.from_bytes(changed.to_bytes())


def test_a_first_epoch_that_is_published_while_the_ledger_is_read_is_no_open_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_marker = ledger._read_marker

    def read_before_it_was_there(marker: Path) -> int:
        monkeypatch.setattr(ledger, "_read_marker", read_marker)
        found = read_marker(marker)
        assert load(tmp_path / "out", "k1").status == "committed"
        return found

    monkeypatch.setattr(ledger, "_read_marker", read_before_it_was_there)
    assert not read(tmp_path / "out").unpublished


def test_a_manifest_of_another_format_is_not_guessed_at(three: Path) -> None:
    whole = (three / "_rayetl" / "epochs" / "000002.json").read_bytes()
    with pytest.raises(ValueError, match="not a manifest that this version of rayetl can read"):
        Manifest.from_bytes(whole.replace(b'"format": 1', b'"format": 2'))


def test_an_old_manifest_in_the_place_of_the_newest_is_noticed_where_none_is_before_it(
    tmp_path: Path,
) -> None:
    for key in ("k1", "k2"):
        load(tmp_path / "out", key, "overwrite")
    epochs = tmp_path / "out" / "_rayetl" / "epochs"
    (epochs / "000002.json").write_bytes((epochs / "000001.json").read_bytes())
    with pytest.raises(LoadError, match="it is the manifest of epoch 1"):
        read(tmp_path / "out")


def test_an_epoch_of_the_same_mark_is_another_one(three: Path) -> None:
    found, other = read(three), Epoch("p", "out", "k9", "run")
    assert replace(found, standing={other.mark: 3}).find(other) is None


def test_the_recorded_result_of_a_skipped_epoch(three):
    result = load(three, "k2")
    assert (result.status, result.rows, result.files, result.bytes) == ("skipped", 1, 1, 4)


def test_error_if_exists_and_ignore(three):
    with pytest.raises(LoadError, match="holds data already"):
        load(three, "k9", "error_if_exists")
    assert load(three, "k9", "ignore") is None
    (three.parent / "new").mkdir()
    (three.parent / "new" / "_SUCCESS").touch()
    assert load(three.parent / "new", "k9", "error_if_exists").status == "committed"


def test_an_epoch_replaced_by_a_later_one_is_loaded_anew(tmp_path):
    root = tmp_path / "out"
    statuses = [load(root, key, "overwrite").status for key in ("k1", "k2", "k2", "k1")]
    assert statuses == ["committed", "committed", "skipped", "committed"]


def test_a_run_that_gives_up_takes_back_what_it_made(tmp_path):
    opened = open_load(tmp_path / "deep" / "out", "k1")
    opened.begin()
    opened.abort()
    assert not list(tmp_path.iterdir())


def test_rows_that_the_staged_files_do_not_hold_are_noticed(tmp_path):
    import polars as pl

    opened = open_load(tmp_path / "out", "k1", form="parquet")
    target = opened.begin()
    pl.DataFrame({"a": [1, 2]}).write_parquet(Path(target.directory, "0.parquet"))
    with pytest.raises(BooksError, match=r"3 rows went to .* hold 2"):
        opened.commit(3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_rows_without_a_staged_file_are_noticed(tmp_path, form):
    opened = open_load(tmp_path / "out", "k1", form=form)
    opened.begin()
    with pytest.raises(BooksError, match=r"3 rows went to .* hold 0"):
        opened.commit(3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_rows_whose_files_another_run_has_taken_away_are_a_conflict(tmp_path, form):
    first, second = (open_load(tmp_path / "out", "k1", form=form) for _ in range(2))
    first.begin()
    (tmp_path / "out" / "_rayetl" / "lock").unlink()
    second.begin()
    with pytest.raises(CommitConflict, match="overtaken: a newer run"):
        first.commit(3)
    assert second.commit(0).status == "committed"


@pytest.mark.parametrize("name", ["a b", "ünï", "x" * 250, "'; rm -rf", "per%cent", "new\nline"])
def test_hostile_names(tmp_path, name):
    assert load(tmp_path / name, "k1", files=2).status == "committed"
    assert load(tmp_path / name, "k1").status == "skipped"


def test_a_file_in_the_place_of_the_target_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(LoadError, match="is a file"):
        load(tmp_path / "out", "k1")


@pytest.mark.parametrize(
    ("path", "words"), [("in/out", "Not a directory"), ("x" * 300, "File name too long")]
)
def test_a_target_that_cannot_be_is_no_damaged_ledger(tmp_path, path, words):
    (tmp_path / "in").write_text("x")
    with pytest.raises(LoadError, match=f"cannot load into .*: {words}"):
        load(tmp_path / path, "k1")


def test_a_file_system_without_directories_of_ours_is_no_other_run():
    with pytest.raises(LoadError, match=r"the file system of /proc makes no directories"):
        load(Path("/proc/none/out"), "k1")


def test_the_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    opened = open_load(tmp_path / "out", "k1")
    Path(opened.begin().directory, "0.csv").write_text("a\n1\n")
    monkeypatch.setattr(session, "sync", full)
    with pytest.raises(LoadError, match="No space left on device"):
        opened.commit(1)
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("made_before", [False, True])
def test_files_and_new_directories_are_on_disk_before_an_epoch_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_before: bool
) -> None:
    """Also those that were made by one who was killed before its own commit."""
    root = tmp_path / "new" / "out"
    if made_before:
        (root / "_rayetl" / "epochs").mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(session, "sync", lambda path: synced.append(Path(path)))
    opened = open_load(root, "k1")
    staged = Path(opened.begin().directory)
    (staged / "a=1").mkdir()
    (staged / "a=1" / "0.csv").write_text("x")
    (staged / "1.csv").write_text("x")
    assert not synced
    monkeypatch.setattr(session.DirectorySession, "_decide", lambda *_: synced.append(Path("decided")))
    opened.commit(2)
    *before, decided = synced
    assert decided == Path("decided")
    assert {staged, staged / "a=1", staged / "a=1" / "0.csv", staged / "1.csv"} < set(before)
    assert {root, root / "_rayetl"} < set(before)
    assert made_before or {tmp_path, tmp_path / "new"} < set(before)


def test_a_directory_that_is_still_written_into_is_removed(tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    (staged / "data").mkdir(parents=True)
    rmdir = os.rmdir
    late = iter(range(3))

    def written_before(path: Any, **given: Any) -> None:
        for number in late:
            (staged / f"late-{number}").write_text("")
            break
        rmdir(path, **given)

    with mock.patch("os.rmdir", written_before), mock.patch.object(publish, "WAITS", (0.0,) * 6):
        publish.remove_tree(staged)
    assert not staged.exists()
    publish.remove_tree(staged)


@pytest.mark.parametrize(
    "told", [(errno.EMFILE, "Too many open files"), ("IO: Too many open files (os error 24)",)]
)
def test_too_many_open_files_say_what_to_allow(tmp_path: Path, told: tuple[Any, ...]) -> None:
    opened = open_load(tmp_path / "out", "k")
    opened.begin()
    with (
        mock.patch.object(session.DirectorySession, "_described", side_effect=OSError(*told)),
        pytest.raises(LoadError, match="Too many open files") as caught,
    ):
        opened.commit(0)
    assert str(caught.value.hint).startswith("allow more open files (ulimit -n), or let a column with fewer")


def fill(root: Path, epochs: int, replaced: int = 0) -> None:
    """A ledger of so many epochs, as runs would have written it; number `replaced` replaces what was before."""
    directory = root / "_rayetl" / "epochs"
    directory.mkdir(parents=True)
    (root / "_rayetl" / "lock").touch()
    before = Ledger()
    for number in range(1, epochs + 1):
        epoch = Epoch("p", "out", f"k{number}", f"filled-{number}")
        described = Manifest(
            *(number, *("p", "out", epoch.key, epoch.run), f"{number:06d}-0", "append", number, ()),
            *(number == replaced, "2026-01-01T00:00:00+00:00", 0.1, before.seal, (), before.known),
        )
        path = directory / f"{number:06d}.json"
        path.write_bytes(described.to_bytes())
        if number == epochs or reach(number + 1) > 1:
            (root / "_rayetl" / "published").write_text(str(number))
            before = read(root)
        else:
            before = Ledger((Manifest.from_bytes(path.read_bytes()),), number)


@pytest.mark.parametrize("epochs", [33, 1024, 2049])
def test_every_epoch_is_known_though_few_manifests_are_read(tmp_path: Path, epochs: int) -> None:
    fill(tmp_path, epochs)
    known = read(tmp_path)
    assert len(known.manifests) <= 32 * 2
    assert sorted(known.standing.values()) == list(range(1, epochs + 1))
    for number in {1, 31, epochs // 2, epochs - 1, epochs}:
        found = known.find(Epoch("p", "out", f"k{number}", "another run"))
        assert found is not None
        assert (found.number, found.rows) == (number, number)
    assert known.find(Epoch("p", "out", "k0", "another run")) is None
    assert load(tmp_path, f"k{epochs // 2}").status == "skipped"
    assert load(tmp_path, "new").status == "committed"
    assert load(tmp_path, "new").status == "skipped"


def test_what_is_not_published_is_read_however_far_back_that_is(tmp_path: Path) -> None:
    """As after the marker was restored from a backup."""
    fill(tmp_path, 70)
    (tmp_path / "_rayetl" / "published").write_text("20")
    found = read(tmp_path)
    assert [each.number for each in found.unpublished] == list(range(21, 71))
    assert sorted(found.standing.values()) == list(range(1, 71))


@pytest.mark.parametrize("replaced", [32, 40, 1024])
def test_what_was_replaced_is_forgotten(tmp_path: Path, replaced: int) -> None:
    fill(tmp_path, 1060, replaced)
    assert sorted(read(tmp_path).standing.values()) == list(range(replaced, 1061))


def test_a_manifest_that_speaks_for_others_is_missed_or_found_to_be_another(tmp_path: Path) -> None:
    fill(tmp_path, 1060)
    for number in (1057, 1056, 1024):
        path = tmp_path / "_rayetl" / "epochs" / f"{number:06d}.json"
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(LoadError, match=rf"{number:06d}\.json: it is missing"):
            load(tmp_path, "new")
        forged = Manifest.from_bytes(whole)
        path.write_bytes(replace(forged, rows=forged.rows + 1).to_bytes())
        with pytest.raises(LoadError, match="it does not follow the manifest before it"):
            load(tmp_path, "new")
        path.write_bytes(whole)
    assert load(tmp_path, "k1").status == "skipped"
