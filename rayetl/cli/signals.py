"""SIGINT and SIGTERM end a command with one clean KeyboardInterrupt, even inside a long native query.

Polars watches for SIGINT while it computes (its hook chains to the handler it finds, so this one must
be in place before Polars is imported) and knows nothing of SIGTERM; Python's own handlers wait until
the native call returns. So SIGTERM is passed on as SIGINT from a thread that reads the wake-up pipe.

With Polars' hook in front, the system takes up again what SIGINT interrupts, a wait for a thread or a server,
and Python's handler stays waiting too. So SIGINT is followed by SIGURG, which nobody else uses and which
lets such a call return; by several where it comes too early: Python may begin a call while a signal waits.

Calls of other libraries (libpq, the Delta library) return for no signal, nor do threads that wait for a
service which answers nothing. So a process that has not ended some seconds after a signal is ended, as by
SIGKILL: what that leaves the next run clears away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_WAKES, _PAUSE = 20, 0.05
"""So often the main thread is woken for a SIGINT that it does not hear of, and so many seconds apart."""

_PATIENCE = 2.0
"""Seconds that a command has to roll back after a signal."""

_AGAIN = b"\0"
"""On the pipe: no signal, but the wish for another SIGINT."""


class Interrupts:
    """Handlers for the time of a `with` block; does nothing outside the main thread.

    `give_up` ends the process, where that may be done, with the exit code that it is given and whether the
    block was left.
    """

    def __init__(self, give_up: Callable[[int, bool], None] | None = None) -> None:
        self.terminated = False
        self._give_up = give_up
        self._signalled = False
        self._left = False
        self._unraised = False
        self._heard = False
        self._active = threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if self._active:
            self._install()
        return self

    def _install(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._note_termination),
            signal.SIGURG: signal.signal(signal.SIGURG, lambda *_: None),
        }
        self._main = threading.get_ident()
        threading.Thread(target=self._pass_on, name="rayetl-signals", daemon=True).start()
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._active:
            return
        self._left = True
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        sys.unraisablehook = self._hook_before
        os.close(self._writer)

    def exit_code(self, code: int) -> int:
        """`code`, or what a shell expects after SIGTERM."""
        return 143 if self.terminated and code == 130 else code

    def _note_termination(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.terminated = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise once: Polars raises KeyboardInterrupt itself, and a second one would break the clean-up."""
        del number, frame
        self._heard = True
        if self._unraised:
            # Nothing can be raised here either.
            self._send_again()
        elif not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            raise KeyboardInterrupt

    def _unraisable(self, found: sys.UnraisableHookArgs) -> None:
        """An interrupt may come where Python can raise nothing, as while a generator is closed: the signal
        that it stands for is sent again, once this place is left."""
        self._unraised = True
        try:
            if isinstance(found.exc_value, KeyboardInterrupt):
                self._send_again()
            else:
                self._hook_before(found)
        finally:
            self._unraised = False

    def _send_again(self) -> None:
        os.write(self._writer, _AGAIN)

    def _pass_on(self) -> None:
        while number := os.read(self._reader, 1):
            if number == _AGAIN:
                time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)
            if number[0] == signal.SIGTERM:
                self.terminated = True
            if number[0] in (signal.SIGTERM, signal.SIGINT):
                self._see_to_the_end()
            if number[0] == signal.SIGTERM:
                os.kill(os.getpid(), signal.SIGINT)
            if number[0] == signal.SIGINT:
                self._wake()
        os.close(self._reader)

    def _wake(self) -> None:
        for _ in range(_WAKES):
            if self._heard:
                break
            signal.pthread_kill(self._main, signal.SIGURG)
            time.sleep(_PAUSE)
        self._heard = False

    def _see_to_the_end(self) -> None:
        if self._give_up is not None and not self._signalled:
            self._signalled = True
            threading.Thread(target=self._end, args=(self._give_up,), daemon=True).start()

    def _end(self, give_up: Callable[[int, bool], None]) -> None:
        time.sleep(_PATIENCE)
        give_up(self.exit_code(130), self._left)
