"""A model of what a load promises, and a machine that loads, crashes, replays, races and rolls back at random.

The model keeps every history that the runs so far allow: a run that was killed has committed its epoch or has
not, and two runs at once came in either order. Each look at the store strikes out the histories that it
contradicts. When none is left, the store holds what no order of whole epochs explains.
"""

from __future__ import annotations

import itertools
import multiprocessing.connection
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from fault_checker import Verdict
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

COMMITTED, SKIPPED, CONFLICT, KILLED = 0, 10, 11, -signal.SIGKILL
PATIENCE = 0.15
"""Seconds that a second run is given while the first is held up: where runs wait for one another it needs to
be let go first, so the length says which orders are tried and never what is right."""

Row = tuple[Any, ...]


@dataclass(frozen=True)
class World:
    """What is in the store after the epochs that were committed, in their order: (key, mode) each."""

    rows: tuple[Row, ...]
    epochs: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for key, _ in self.epochs)


class Sink(ABC):
    """A store with one target that loads go to, as its own workers load and an outsider reads it."""

    name: str
    early: Sequence[str]
    """Failpoints before the decision: a run that breaks there must change nothing."""
    late: Sequence[str]
    """The other failpoints: at the decision, after it, and on the way of a run that recovers."""
    held: str
    """Where a run is held up while another one starts: the last moment before it decides."""
    appears: Literal["at once", "whole", "in parts"] = "at once"
    """How the rows of an epoch are seen after the decision, before the run (or, where that died, the next one)
    has published them: by the decision itself, not yet or all together, or some before others."""

    @abstractmethod
    def fresh(self, keyed: bool) -> list[Row]:
        """Make an empty target, or one with some rows; `keyed` is for modes that replace by key."""

    @abstractmethod
    def modes(self, keyed: bool) -> Sequence[str]:
        """The modes that such a target is loaded in."""

    @abstractmethod
    def work(self, key: str, mode: str, variant: int) -> Any:
        """A work of the sink's worker: the epoch `key`, whose rows are chosen by `variant`."""

    @abstractmethod
    def after(self, work: Any, rows: Sequence[Row]) -> Iterable[Row]:
        """The oracle: what `rows` become by a work."""

    @abstractmethod
    def read(self) -> Iterable[Row]:
        """What an outsider sees."""

    def skips(self, work: Any, world: World) -> bool:
        """Whether the store has the epoch of a work, and does not load it again."""
        return work.key in world.keys

    def epochs(self) -> tuple[str, ...] | None:
        """The epochs that the store says were committed, in order, if an outsider can read them."""
        return None

    @abstractmethod
    def assert_clean(self) -> None:
        """Nothing is left of attempts that did not commit. Raises `Verdict`."""

    @abstractmethod
    def start(self, work: Any) -> BaseProcess:
        """Begin a work in a process of its own."""


class Model:
    """The histories that explain all that was seen."""

    def __init__(self, sink: Sink, rows: Iterable[Row]) -> None:
        self.sink = sink
        self.worlds = {World(tuple(sorted(rows)))}

    def ran(self, *runs: tuple[Any, int], harmless: bool = False) -> None:
        """Some works ended with these codes, at one time; with `harmless`, one that broke changed nothing."""
        found: set[World] = set()
        for order in itertools.permutations(runs):
            worlds = self.worlds
            for work, code in order:
                worlds = {after for world in worlds for after in self._after(world, work, code, harmless)}
            found |= worlds
        self._narrow(found, f"no history explains {[(work.key, work.mode, code) for work, code in runs]}")

    def _after(self, world: World, work: Any, code: int, harmless: bool) -> Iterator[World]:
        known = self.sink.skips(work, world)
        if code != COMMITTED and (code != SKIPPED or known):
            yield world
        undecided = code == COMMITTED or (code not in (SKIPPED, CONFLICT) and not harmless)
        if undecided and not known:
            rows = tuple(sorted(self.sink.after(work, world.rows)))
            yield World(rows, (*world.epochs, (work.key, work.mode)))

    def seen(self, settled: bool) -> None:
        """Compare with the store. Where it is not `settled`, a decided epoch may wait to be published."""
        rows, epochs = Counter(self.sink.read()), self.sink.epochs()
        if not settled and self.sink.appears == "in parts":
            least, most = self._bounds()
            if least - rows or rows - most:
                raise Verdict(f"lost {least - rows}, extra {rows - most}")
            return
        fitting = {world for world in self.worlds if Counter(world.rows) == rows}
        if not fitting:
            nearest = [f"lost {Counter(w.rows) - rows}, extra {rows - Counter(w.rows)}" for w in self.worlds]
            raise Verdict(f"no history explains the rows: {' or '.join(nearest)[:2000]}")
        if not settled and self.sink.appears == "whole":
            return
        if epochs is not None:
            fitting = {world for world in fitting if world.keys == epochs}
        self._narrow(fitting, f"the store's own books say {epochs}")

    def _bounds(self) -> tuple[Counter[Row], Counter[Row]]:
        """The rows of all histories, and the rows of any."""
        counts = [Counter(world.rows) for world in self.worlds]
        least, most = counts[0], counts[0]
        for each in counts[1:]:
            least, most = least & each, most | each
        return least, most

    def _narrow(self, worlds: set[World], otherwise: str) -> None:
        if not worlds:
            raise Verdict(f"{otherwise}; histories: {[world.keys for world in self.worlds]}")
        self.worlds = worlds


class Machine(RuleBasedStateMachine):
    """Subclasses say which sink, where its failpoints find the controller, and which bug is planted."""

    sink: Sink
    server: socket.socket
    path: str
    bug = ""
    codes: Counter[str]

    works = Bundle("works")
    modes = st.integers(0, 5)
    variants = st.integers(0, 3)
    turns = st.sampled_from((1, 1, 1, 2))
    early = st.runner().flatmap(lambda machine: st.sampled_from(machine.sink.early))
    late = st.runner().flatmap(lambda machine: st.sampled_from(machine.sink.late))
    points = early | late

    @initialize(keyed=st.booleans())
    def begin(self, keyed: bool) -> None:
        self.keyed, self.number, self.settled = keyed, 0, True
        self.model = Model(self.sink, self.sink.fresh(keyed))

    @rule(target=works, mode=modes, variant=variants)
    def write(self, mode: int, variant: int) -> Any:
        return self._done(self._new(mode, variant))

    @rule(work=works)
    def replay(self, work: Any) -> None:
        self._done(work)

    @rule(target=works, mode=modes, variant=variants, point=points, turn=turns, again=st.booleans())
    def crash(self, mode: int, variant: int, point: str, turn: int, again: bool) -> Any:
        work = self._done(self._new(mode, variant), f"{point}:kill9@{turn}")
        if again:
            self.explained()
            self._done(work)
        return work

    @rule(work=works, point=points)
    def crash_again(self, work: Any, point: str) -> None:
        self._done(work, f"{point}:kill9")

    @rule(target=works, mode=modes, variant=variants, point=early)
    def roll_back(self, mode: int, variant: int, point: str) -> Any:
        return self._done(self._new(mode, variant), f"{point}:raise")

    @rule(target=works, mode=modes, variant=variants, same=st.booleans(), dies=st.booleans())
    def run_at_once(self, mode: int, variant: int, same: bool, dies: bool) -> Any:
        """A run is held up before it decides, and another one of the same or the next epoch comes."""
        held = self._new(mode, variant)
        other = held if same else self._new(mode + 1, variant + 1)
        arm = f"{self.sink.held}:barrier"
        first = self.sink.start(replace(held, arm=arm, socket=self.path, bug=self.bug))
        waiting = self._arrival(first)
        second = self.sink.start(replace(other, bug=self.bug))
        if waiting is not None:
            second.join(PATIENCE)
            if dies:
                os.kill(first.pid or 0, signal.SIGKILL)
            waiting.close()
        codes = [self._code(first), self._code(second)]
        if set(codes) == {CONFLICT}:
            raise Verdict("two runs at once kept one another from the epoch")
        self._judge((held, codes[0]), (other, codes[1]), harmless=False)
        return other

    @invariant()
    def explained(self) -> None:
        self.model.seen(self.settled)

    def teardown(self) -> None:
        """The work goes on, and clears up behind the dead."""
        if hasattr(self, "model"):
            for mode in range(2):
                self._done(self._new(mode, 0))
            self.explained()
            self.sink.assert_clean()

    def _new(self, mode: int, variant: int) -> Any:
        self.number += 1
        modes = self.sink.modes(self.keyed)
        return self.sink.work(f"k{self.number}", modes[mode % len(modes)], variant)

    def _done(self, work: Any, arm: str = "") -> Any:
        code = self._code(self.sink.start(replace(work, arm=arm, bug=self.bug)))
        if code == CONFLICT or (code not in (COMMITTED, SKIPPED) and not arm):
            raise Verdict(f"{work.key} alone ended with {code}")
        self._judge((work, code), harmless=arm.endswith(":raise"))
        return work

    def _judge(self, *runs: tuple[Any, int], harmless: bool) -> None:
        self.model.ran(*runs, harmless=harmless)
        # A run that comes through has completed what dead ones before it had decided.
        self.settled = all(code in (COMMITTED, SKIPPED) for _, code in runs)

    def _arrival(self, process: BaseProcess) -> socket.socket | None:
        """Wait until a run is where it is held up; `None` if it ended without."""
        ready = multiprocessing.connection.wait([process.sentinel, self.server], 60)
        if self.server not in ready:
            return None
        connection = self.server.accept()[0]
        connection.recv(200)
        return connection

    def _code(self, process: BaseProcess) -> int:
        process.join(60)
        if process.exitcode is None:
            process.kill()
            raise Verdict("a run never ended")
        names = {COMMITTED: "committed", SKIPPED: "skipped", CONFLICT: "conflict", KILLED: "killed"}
        self.codes[names.get(process.exitcode, "broken")] += 1
        return process.exitcode
