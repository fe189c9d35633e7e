"""Work on several items by processes of the cluster: in order, with its faults, and again where one dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from rayetl.cluster.spread import spread
from rayetl.errors import SourceError
from rayetl.secrets.secret import Secret

# The processes of the cluster do not know this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def doubled(number: int) -> tuple[int, int, str]:
    return 2 * number, os.getpid(), os.getcwd()


def refused(number: int) -> int:
    if number == 1:
        raise SourceError("the file is damaged", hint="mend it")
    return number


def dies_once(place: str) -> bool:
    """Whether it was done before by a process that is dead."""
    mark = Path(place)
    if mark.exists():
        return True
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return False


def late(place: str) -> None:
    """Done a second after the other one has failed."""
    if not place:
        raise SourceError("the file is damaged")
    time.sleep(1)
    Path(place).touch()


def opened(item: Any) -> int:
    return os.getpid()


def test_results_come_in_the_order_of_the_items_from_other_processes(cluster: str, here: Path) -> None:
    found = spread("p", doubled, list(range(7)), 2)
    assert [number for number, _, _ in found] == [0, 2, 4, 6, 8, 10, 12]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {directory for _, _, directory in found} == {str(here)}


def test_a_fault_of_the_work_is_raised_as_it_was(cluster: str, here: Path) -> None:
    with pytest.raises(SourceError, match="the file is damaged") as caught:
        spread("p", refused, [0, 1, 2], 2)
    assert caught.value.hint == "mend it"


def test_nothing_is_under_way_any_more_when_a_fault_is_raised(cluster: str, here: Path) -> None:
    with pytest.raises(SourceError, match="the file is damaged"):
        spread("p", late, ["", str(here / "done")], 2)
    assert (here / "done").exists()


def test_what_a_process_died_over_is_done_by_another(cluster: str, here: Path) -> None:
    assert spread("p", dies_once, [str(here / "a"), str(here / "b")], 2) == [True, True]


def test_a_secret_leaves_this_process_for_no_other(cluster: str, here: Path) -> None:
    assert spread("p", opened, [Secret("hidden"), Secret("too")], 2) == [os.getpid()] * 2
