"""The page `docs/cli.md`, made from the commands' own help: `python -m rayetl.cli.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from rayetl.cli.app import build


def page() -> str:
    """The whole page as Markdown."""
    root: Any = typer.main.get_command(build())
    intro = "# The command line\n\nMade from `--help` of every command; data on stdout, logs on stderr.\n"
    return intro + "".join(_sections("rayetl", root))


def _sections(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=80)
    yield f"\n## `{name}`\n\n```text\n{context.get_help().rstrip()}\n```\n"
    for child, inner in getattr(command, "commands", {}).items():
        yield from _sections(f"{name} {child}", inner)


if __name__ == "__main__":
    sys.stdout.write(page())
