"""The command line: each command parses, makes one call and prints. Data on stdout, logs on stderr."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `rayetl` command and return its exit code (0 done, 1 failed, 2 config or usage, 3 stopped
    by a quality rule, 4 too many rejects, 130 and 143 stopped by a signal)."""
    import sys

    if argv is None:
        _let_signals_end_it()
    _quicken()
    from rayetl.cli.app import execute
    from rayetl.cli.streams import open_streams
    from rayetl.secrets.environment import withdraw
    from rayetl.secrets.hardening import keep_memory_private

    withdraw()
    if argv is not None:
        return execute(list(argv))
    # The process is this command's own, not that of a program that calls it.
    keep_memory_private()
    _open_many_files()
    open_streams()
    code = execute(sys.argv[1:], _give_up)
    if code in (130, 143):
        sys.stdout.flush()
        _end_at_once(code)
    _end_quickly()
    return code


def _let_signals_end_it() -> None:
    """Until a command begins, SIGINT ends the process without a word: there is nothing yet to roll back, and
    Python's own handler would show a traceback of the imports."""
    import signal

    # Who started it may have told it to take no notice.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _open_many_files() -> None:
    """Allow as many open files as the system lets a process have, within reason: each partition that a load
    writes is one, and shells allow 1,024 for the sake of programs that wait by `select`."""
    import resource
    from contextlib import suppress

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _end_at_once(code: int) -> None:
    """End the process now: all is rolled back, and whoever sent the signal waits. To take Ray and Spark down
    in good order costs seconds."""
    import os
    import sys

    if "rayetl.cluster.spark_session" in sys.modules:
        from rayetl.cluster.spark_session import end_children

        end_children()
    os._exit(code)


def _give_up(code: int, said: bool) -> None:
    """End the process although its main thread goes on to wait, and say why unless that was `said`."""
    import threading

    if not said:
        # Stderr too may be what the main thread waits for.
        saying = threading.Thread(target=_say, args=(code,), daemon=True)
        saying.start()
        saying.join(0.2)
    _end_at_once(code)


def _say(code: int) -> None:
    import sys

    from rayetl.cli.faults import stopped

    if sys.stderr.isatty():
        # What shows the progress has hidden the cursor.
        sys.stderr.write("\r\x1b[K\x1b[?25h")
    stopped(code)


def _end_quickly() -> None:
    """Spare the process a last collection of everything it holds; the system takes it back at once."""
    import gc

    gc.freeze()


def _quicken() -> None:
    """Spare the process what a short command pays for and gets nothing from: garbage collections amid its
    imports, and a search of all installed distributions for plugins of pydantic."""
    import gc
    import os

    gc.set_threshold(300_000, 50, 50)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
