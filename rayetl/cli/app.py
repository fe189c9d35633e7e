"""The table of commands, and what surrounds each of them: common options, signals, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from rayetl.cli import (
    check,
    dlq,
    doctor,
    explain,
    faults,
    init,
    parity,
    preview,
    report,
    run,
    schema,
    settings,
    test,
    vault,
)
from rayetl.cli.settings import Settings
from rayetl.cli.signals import Interrupts
from rayetl.observability import logs

COMMANDS: dict[str, Callable[..., int]] = {
    "init": init.init,
    "check": check.check,
    "explain": explain.explain,
    "preview": preview.preview,
    "test": test.run_tests,
    "parity": parity.parity,
    "run": run.run,
    "report": report.report,
    "schema": schema.schema,
    "doctor": doctor.doctor,
}


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
        logs.Format, typer.Option(help="Form of the log on stderr; auto is text on a terminal.")
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


def build() -> typer.Typer:
    """The whole command tree."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=True)
    app.callback()(_common)
    for name, function in COMMANDS.items():
        app.command(name, epilog=settings.EPILOG)(function)
    app.add_typer(dlq.app, name="dlq")
    app.add_typer(vault.app, name="vault")
    return app


def execute(argv: list[str]) -> int:
    """Parse and run one command; every exception becomes a message on stderr and an exit code."""
    command: Any = typer.main.get_command(build())
    chosen = Settings()
    with Interrupts() as interrupts:
        try:
            code = command.main(
                args=settings.hoist(argv), prog_name="rayetl", standalone_mode=False, obj=chosen
            )
        except typer.TyperException as error:
            code = faults.usage(error)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the last stop; panics of Polars are no Exception
            code = faults.show(error, debug=chosen.debug or "--debug" in argv)
        return faults.stopped(interrupts.exit_code(code or 0))
