"""The options that every command takes, wherever on the line they stand."""

from __future__ import annotations

import sys
from typing import cast

import typer

from rayetl.observability import logs
from rayetl.records import dataclass

FLAGS = frozenset({"--quiet", "-q", "--debug"})
VALUED = frozenset({"--log-level", "--log-format"})

EPILOG = """\b
Every command also takes:
  -q, --quiet             errors only
  --debug                 full traceback of an error, log level debug
  --log-level LEVELS      for example info,rayetl.connectors=debug
  --log-format FORMAT     auto, text or json
"""


@dataclass(slots=True)
class Settings:
    """What the common options said."""

    quiet: bool = False
    debug: bool = False
    log_level: str | None = None
    log_format: logs.Format = "auto"

    @property
    def json_logs(self) -> bool:
        """Whether stderr carries one JSON object a line."""
        return logs.is_json(self.log_format, sys.stderr)

    @property
    def levels(self) -> str:
        """The level text asked for; without one, as much as the reader of stderr can use."""
        if self.log_level:
            return self.log_level
        if self.debug:
            return "debug"
        if self.quiet:
            return "error"
        return "info" if self.json_logs else "warning"


def of(context: typer.Context) -> Settings:
    """The settings of this invocation."""
    return cast(Settings, context.obj)


def hoist(argv: list[str]) -> tuple[list[str], list[str]]:
    """The common options, which typer wants in front, and all other arguments."""
    common: list[str] = []
    rest: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        if token == "--":
            rest += [token, *tokens]
        elif token in FLAGS or token.split("=", 1)[0] in VALUED:
            common.append(token)
            if token in VALUED:
                common += [value for value in [next(tokens, None)] if value is not None]
        else:
            rest.append(token)
    return common, rest
