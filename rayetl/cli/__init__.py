"""The command line: each command parses, makes one call and prints. Data on stdout, logs on stderr."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `rayetl` command and return its exit code (0 done, 1 failed, 2 config or usage, 3 stopped
    by a quality rule, 4 too many rejects, 130 and 143 stopped by a signal)."""
    import sys

    from rayetl.cli.app import execute

    return execute(list(sys.argv[1:] if argv is None else argv))
