"""What becomes of a target while an epoch is committed: what stays, what others do meanwhile, what is refused."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from test_commit_ledger import load, open_load, three

from rayetl.connectors.commit import ledger, publish, session
from rayetl.connectors.commit.layout import Layout
from rayetl.connectors.commit.lock import Lock
from rayetl.errors import CommitConflict, LoadError

__all__ = ["three"]


def test_files_of_published_epochs_may_be_removed(three: Path) -> None:
    for path in three.glob("*.csv"):
        path.unlink()
    assert load(three, "k4").status == "committed"


def test_the_number_of_an_epoch_is_taken_once(three: Path) -> None:
    """As on a file system without locks, where two runs may begin in the same instant."""
    opened = open_load(three, "k4")
    Path(opened.begin().directory, "0.csv").write_text("a\n1\n")
    taken = three / "_rayetl" / "epochs" / "000004.json"
    taken.write_bytes(b"of another run")
    with pytest.raises(CommitConflict, match="overtaken"):
        opened.commit(1)
    assert taken.read_bytes() == b"of another run"
    assert len(list(three.glob("*.csv"))) == 3


def test_a_decision_whose_answer_was_lost_is_known_as_ones_own(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def repeated(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    assert load(three, "k4").status == "committed"
    assert len(list(three.glob("*.csv"))) == 4


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY, errno.EPERM])
def test_without_exchange_the_epoch_is_published_in_place(tmp_path, monkeypatch, code):
    def refuse(one, other):
        raise OSError(code, "no exchange here")

    monkeypatch.setattr(publish, "exchange", refuse)
    root, others = tmp_path / "out", tmp_path / "others"
    load(root, "k1", "append", files=3)
    others.mkdir()
    (others / "kept.csv").touch()
    (root / "linked").symlink_to(others)
    load(root, "k2", "overwrite", files=2)
    assert sorted(path.suffix for path in root.iterdir()) == ["", ".csv", ".csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "out"]
    assert (others / "kept.csv").exists()


def test_a_disk_that_fails_an_exchange_is_not_written_on(tmp_path, monkeypatch):
    def fail(one, other):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(publish, "exchange", fail)
    with pytest.raises(LoadError, match="the disk is broken"):
        load(tmp_path / "out", "k1", files=2)
    assert not list(tmp_path.iterdir())


def test_a_target_in_a_directory_of_somebody_else_is_loaded_in_place(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o711)
        root = Path(place, "out")
        root.mkdir()
        os.chown(root, 65534, 65534)
        if not (child := os.fork()):
            os.setuid(65534)
            statuses = [load(root, key, files=2).status for key in ("k1", "k1", "k2")]
            os._exit(statuses != ["committed", "skipped", "committed"])
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(root.glob("*.csv"))) == 4


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no such place")
def test_nothing_is_exchanged_with_what_is_mounted():
    assert [Layout.of(path).swap for path in ("/dev/shm", "/dev/shm/out", "/")] == [False, True, False]


@pytest.mark.parametrize("files", [1, 2])
def test_symbolic_links(tmp_path, files):
    real, outside = tmp_path / "real", tmp_path / "outside"
    real.mkdir()
    outside.mkdir()
    (tmp_path / "link").symlink_to(real)
    load(tmp_path / "link", "k1", files=2)
    assert (tmp_path / "link").is_symlink()
    assert len(list(real.glob("*.csv"))) == 2
    (real / "day=1").symlink_to(outside)
    opened = open_load(tmp_path / "link", "k2")
    target = opened.begin()
    Path(target.directory, "day=1").mkdir()
    for number in range(files):
        Path(target.directory, "day=1", f"{number}.csv").write_text("a\n1\n")
    with pytest.raises(LoadError):
        opened.commit(files)
    assert not list(outside.iterdir())


def test_an_exchange_keeps_rights_and_links_of_what_stays(three: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file.csv").write_text("a\n1\n")
    (three / "day=1").mkdir()
    (three / "day=1" / "file.csv").symlink_to(tmp_path / "elsewhere" / "file.csv")
    (three / "day=2").symlink_to(tmp_path / "elsewhere")
    (three / "day=1").chmod(0o710)
    three.chmod(0o751)
    before = three.stat().st_ino
    assert load(three, "k4", files=2).status == "committed"
    assert three.stat().st_ino != before, "it was exchanged"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (three, three / "day=1")] == [0o751, 0o710]
    assert (three / "day=2").readlink() == tmp_path / "elsewhere"
    assert (three / "day=1" / "file.csv").readlink() == tmp_path / "elsewhere" / "file.csv"


@pytest.mark.parametrize(("mode", "is_kept"), [("append", True), ("overwrite", False)])
def test_what_others_put_there_while_the_next_directory_is_built_is_kept_by_append(
    three: Path, monkeypatch: pytest.MonkeyPatch, mode: str, is_kept: bool
) -> None:
    exchange = publish.exchange

    def late(one: Path, other: Path) -> None:
        (three / "day=1").mkdir()
        (three / "day=1" / "stray.csv").write_text("a\n9\n")
        (three / "link.csv").symlink_to("nowhere")
        exchange(one, other)

    monkeypatch.setattr(publish, "exchange", late)
    assert load(three, "k4", mode, files=2).status == "committed"
    assert (three / "day=1" / "stray.csv").exists() == is_kept
    assert (three / "link.csv").is_symlink() == is_kept
    assert len(list(three.glob("part-*"))) == (5 if is_kept else 2)


@pytest.mark.parametrize("left", ["data", "nothing"])
def test_rows_that_were_put_there_or_an_epoch_without_any_are_data(tmp_path: Path, left: str) -> None:
    root = tmp_path / "out"
    if left == "data":
        root.mkdir()
        (root / "file.csv").write_text("a\n1\n")
    else:
        assert load(root, "k1", files=0).status == "committed"
    with pytest.raises(LoadError, match="holds data already"):
        load(root, "k2", "error_if_exists")
    assert load(root, "k2", "ignore") is None
    assert load(root, "k2").status == "committed", "who was ignored holds no lock"


def test_a_lock_is_held_until_the_old_directory_is_cleared_away(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = session.settle_exchange

    def disturbed(*given: object) -> None:
        with pytest.raises(CommitConflict, match="is loading into"):
            open_load(three, "k5").begin()
        settle(*given)

    monkeypatch.setattr(session, "settle_exchange", disturbed)
    assert load(three, "k4", files=2).status == "committed"


@pytest.mark.parametrize(("size", "is_there"), [(None, False), (3, False), (4, True)])
def test_a_file_of_a_decided_epoch_that_is_nowhere_is_missed(
    three: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, is_there: bool
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(session, "publish", lambda *_: os.stat("/nowhere/at/all"))
        with pytest.raises(LoadError, match="No such file"):
            load(three, "k4")
    (attempt,) = three.parent.glob(".out.rayetl-*")
    if size is not None:
        Path(three, f"part-{attempt.name.partition('rayetl-')[2]}-00000.csv").write_text("a\n1\n"[:size])
    shutil.rmtree(attempt)
    if is_there:
        assert load(three, "k4").status in ("committed", "skipped")
    else:
        for key in ("k4", "k5"):
            with pytest.raises(LoadError, match="belongs to a committed epoch, but neither it nor"):
                load(three, key)


def test_who_meets_half_of_an_exchange_looks_again_while_nobody_commits(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ledger.Ledger.read

    def half(*places: Path) -> ledger.Ledger:
        monkeypatch.setattr(ledger.Ledger, "read", read)
        raise ledger.damaged(places[0], "it is missing, though later work is there")

    monkeypatch.setattr(ledger.Ledger, "read", half)
    assert load(three, "k2").status == "skipped"
    assert load(three, "k4").status == "committed"


def test_directories_that_another_run_takes_back_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = Lock.acquire

    def late(*given: object) -> Lock:
        monkeypatch.setattr(Lock, "acquire", acquire)
        shutil.rmtree(tmp_path / "out")
        return acquire(*given)

    monkeypatch.setattr(Lock, "acquire", late)
    assert load(tmp_path / "out", "k1").status == "committed"


def test_a_run_that_meets_the_change_of_another_gives_its_lock_back(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(Layout, "new_attempt", lambda *_: os.stat("/nowhere/at/all"))
        opened = open_load(three, "k4")
        with pytest.raises(CommitConflict, match="at the same moment"):
            opened.begin()
    assert load(three, "k4").status == "committed"


@pytest.mark.parametrize("files", [1, 2])
def test_who_is_interrupted_while_it_is_decided_takes_nothing_back(
    three: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """The call may have been made: then the staged files are the epoch's."""
    name = "commit_in_place" if files == 1 else "commit_by_exchange"
    decide = getattr(session, name)

    def interrupted(*given: object) -> None:
        decide(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as signalled:
        signalled.setattr(session, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(three, "k4", files=files)
    assert load(three, "k4").status in ("committed", "skipped")
    assert len(list(three.glob("*.csv"))) == 3 + files


def test_a_ledger_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "_rayetl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LoadError, match="must lie in the target itself"):
        load(tmp_path / "out", "k1")
    assert not list((tmp_path / "elsewhere").iterdir())
