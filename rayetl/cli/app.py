"""The table of commands, and what surrounds each of them: common options, signals, errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer

from rayetl.cli import faults, settings
from rayetl.cli.settings import Settings
from rayetl.cli.signals import Interrupts
from rayetl.observability import logs

COMMANDS = {
    "init": "init",
    "check": "check",
    "explain": "explain",
    "preview": "preview",
    "test": "run_tests",
    "parity": "parity",
    "run": "run",
    "report": "report",
    "schema": "schema",
    "doctor": "doctor",
}
"""The function of each command, in the module of the command's name."""

GROUPS = ("dlq", "table", "vault")
"""Commands with commands of their own, each the `app` of its module."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rayetl {version('rayetl')}")
        raise typer.Exit


def _common(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Full traceback of an error, log level debug.")
    ] = False,
    log_level: Annotated[
        str | None,
        typer.Option(help="Level, and levels of modules: `info,rayetl.connectors=debug`.", metavar="LEVELS"),
    ] = None,
    log_format: Annotated[
        logs.Format,
        typer.Option(
            help="Form of the log on stderr; auto is text on a terminal, in colours unless NO_COLOR is set."
        ),
    ] = "auto",
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run ETL pipelines from one config: Spark SQL on Polars in this process.

    \b
    Examples:
      rayetl init demo.yaml      write a commented starter with sample data
      rayetl check demo.yaml     find every problem before a row is read
      rayetl run demo.yaml       run it, commit once, show the report
    """
    del version
    found = settings.of(context)
    found.quiet, found.debug, found.log_level, found.log_format = quiet, debug, log_level, log_format
    try:
        logs.configure(found.levels, found.log_format)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from error


def build(only: str | None = None) -> typer.Typer:
    """The whole command tree; where `only` names a command, that one alone, so that it does not pay for the
    imports of the others."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=True)
    app.callback()(_common)
    known = only in COMMANDS or only in GROUPS
    for name, function in COMMANDS.items():
        if name == only or not known:
            app.command(name, epilog=settings.EPILOG)(getattr(_module(name), function))
    for name in GROUPS:
        if name == only or not known:
            app.add_typer(_module(name).app, name=name)
    return app


def _module(command: str) -> ModuleType:
    return import_module(f"rayetl.cli.{command}")


def execute(argv: list[str], give_up: Callable[[int, bool], None] | None = None) -> int:
    """Parse and run one command; every exception becomes a message on stderr and an exit code.

    `give_up` is for `Interrupts`.
    """
    common, own = settings.hoist(argv)
    command: Any = typer.main.get_command(build(own[0] if own else None))
    chosen = Settings()
    with Interrupts(give_up) as interrupts:
        try:
            code = command.main(args=common + own, prog_name="rayetl", standalone_mode=False, obj=chosen)
            sys.stdout.flush()
        except typer.TyperException as error:
            code = faults.usage(error)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the last stop; panics of Polars are no Exception
            code = faults.show(error, debug=chosen.debug or "--debug" in argv)
        return faults.stopped(interrupts.exit_code(code or 0))
