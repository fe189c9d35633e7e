"""`rayetl dlq list`, `show` and `replay`"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rayetl.cli import settings, shared
from rayetl.cli.run import told
from rayetl.errors import RayetlError
from rayetl.lazy import lazily
from rayetl.observability.text import Table, Writer, many

if TYPE_CHECKING:
    import polars as pl

    from rayetl.pipeline import Pipeline
else:
    pl = lazily("polars")

Letter = dict[str, Any]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at refused rows and replay them.")

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters, or starts of them.", metavar="[ID]...")
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Refused since: so long ago (2h, 3d) or at a moment (2026-11-24T03:00, UTC unless it says "
        "otherwise).",
        metavar="WHEN",
    ),
]


@app.command("list", epilog=settings.EPILOG)
def list_letters(
    config: shared.Config,
    assignments: shared.Assignments = None,
    run: Annotated[str | None, typer.Option(help="Of this run only.", metavar="RUN")] = None,
    step: Annotated[str | None, typer.Option(help="Of this source or step only.", metavar="ID")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Only those not replayed yet.")] = False,
    counts: Annotated[
        bool, typer.Option("--counts", help="Only how many, by run, step, rule and reason.")
    ] = False,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    as_json: shared.Json = False,
) -> int:
    """List refused rows: id, when, where from, why.

    \b
    Examples:
      rayetl dlq list flights.yaml
      rayetl dlq list flights.yaml --step delays --pending --limit 10
      rayetl dlq list flights.yaml --counts --since 2h
      rayetl dlq list flights.yaml --json | jq -r .id
    """
    begin = None if since is None else _moment(since)
    pipeline = shared.load(config, assignments)
    store = pipeline.dead_letters
    if step is not None:
        _assert_known(step, pipeline)
    if counts:
        _counts(store.count(run=run, step=step, pending=pending, since=begin), as_json)
        return 0
    letters = store.read(run=run, step=step, pending=pending, since=begin)
    if not as_json:
        # Not shown, and perhaps encrypted with a key that is not at hand.
        letters = letters.drop("record")
    shown = letters.sort("time", "file", "row", descending=[True, False, False]).head(limit).collect()
    if as_json:
        _write_lines(shown.to_dicts())
        return 0
    whole = letters.select(pl.len()).collect().item()
    more = f", {shown.height} shown (--limit)" if whole > shown.height else ""
    headers = ("id", "time (UTC)", "step", "place", "why", "replayed")
    rows = tuple(map(_row, shown.to_dicts()))
    Writer(sys.stdout).table(Table(many(whole, "dead letter") + more, headers, rows))
    return 0


def _assert_known(step: str, pipeline: Pipeline) -> None:
    """Raise `RayetlError` for a step that is neither in the config nor in a letter of an older one."""
    from rayetl.plan.graph import build_graph
    from rayetl.steps.fragments import nearest

    known = build_graph(pipeline.config).refusing()
    if step not in known and pipeline.dead_letters.read(step=step).head(1).collect().is_empty():
        raise RayetlError(
            f"there is no source, step or load {step!r}, and no dead letter that was refused at one",
            hint=nearest(step, known) or f"there are {', '.join(known)}",
        )


def _moment(text: str) -> datetime:
    """The moment that `--since` means. Raises a usage error for what is none."""
    from rayetl.model import parse_duration

    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither a length of time such as 2h nor a moment such as 2026-11-24T03:00",
            param_hint="--since",
        ) from error


def _counts(found: pl.DataFrame, as_json: bool) -> None:
    if as_json:
        _write_lines(found.to_dicts())
        return
    columns = ("letters", "replayed", "run", "step", "rule", "field", "reason")
    rows = tuple(
        tuple("" if row[name] is None else str(row[name]) for name in columns) for row in found.to_dicts()
    )
    Writer(sys.stdout).table(Table("Dead letters by reason", columns, rows, frozenset({0, 1})))


@app.command("show", epilog=settings.EPILOG)
def show(
    config: shared.Config,
    ids: Ids = None,
    assignments: shared.Assignments = None,
    as_json: shared.Json = False,
) -> int:
    """Show refused rows whole: every reason, and the source record as it was read.

    \b
    Examples:
      rayetl dlq show flights.yaml 41-3f2a
      rayetl dlq show flights.yaml --json
    """
    store = shared.load(config, assignments).dead_letters
    out = Writer(sys.stdout)
    for found in [[store.show(wanted) for wanted in ids]] if ids else _batches(store.read()):
        if as_json:
            _write_lines(found)
            continue
        for letter in found:
            _show(out, letter)
    return 0


def _batches(letters: pl.LazyFrame) -> Iterator[list[Letter]]:
    for batch in letters.collect_batches():
        yield batch.to_dicts()


@app.command("replay", epilog=settings.EPILOG)
def replay(
    context: typer.Context,
    config: shared.Config,
    ids: Ids = None,
    step: Annotated[
        str | None, typer.Option(help="Those refused at this source, step or load.", metavar="ID")
    ] = None,
    assignments: shared.Assignments = None,
    as_json: shared.Json = False,
) -> int:
    """Put stored source records through the present config, each exactly once.

    \b
    Examples:
      rayetl dlq replay flights.yaml
      rayetl dlq replay flights.yaml 41-3f2a 77-3f2a
      rayetl dlq replay flights.yaml --step delays

    Without ids, all that were not replayed yet. Only loads that lack the rows get them. A row that is
    refused again has a new letter.
    """
    pipeline = shared.load(config, assignments)
    store = pipeline.dead_letters
    wanted = [store.show(start)["id"] for start in ids or ()]
    if step is not None:
        _assert_known(step, pipeline)
        wanted += store.read(step=step, pending=True).select("id").collect()["id"].to_list()
        if not wanted:
            raise RayetlError(
                f"nothing that was refused at {step!r} waits to be replayed",
                hint="`rayetl dlq list CONFIG --pending` shows what waits, and at which step it was refused",
            )
    return told(lambda listener: pipeline.replay(wanted, progress=listener), settings.of(context), as_json)


def _row(letter: Letter) -> tuple[str, ...]:
    why = "; ".join(f"{reason['rule']}: {reason['reason']}" for reason in letter["reasons"])
    return (
        letter["id"][:12],
        f"{letter['time']:%Y-%m-%d %H:%M:%S}",
        letter["step"],
        _place(letter),
        why,
        "yes" if letter["replayed"] else "",
    )


def _place(letter: Letter) -> str:
    from rayetl.connectors.dead_letters import place_of

    return place_of(letter["file"], letter["row"]) if letter["file"] is not None else "not in a source"


def _show(out: Writer, letter: Letter) -> None:
    out.line(f"dead letter {letter['id']}")
    out.line(f"  of run {letter['run']}, epoch {letter['epoch']}, {letter['time']:%Y-%m-%d %H:%M:%S} UTC")
    out.line(f"  step {letter['step']}, {_place(letter)}")
    for reason in letter["reasons"]:
        field = f" ({reason['field']})" if reason["field"] else ""
        out.line(f"  {reason['rule']}{field}: {reason['reason']}")
    out.line(f"  record ({letter['record_format']}): {_text(letter['record'])}")
    out.line("")


def _text(record: bytes) -> str:
    return record.decode("utf-8", "backslashreplace").rstrip("\r\n")


def _write_lines(letters: Sequence[Letter]) -> None:
    import json

    for letter in letters:
        sys.stdout.write(json.dumps(letter, default=_plain, ensure_ascii=False) + "\n")


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return _text(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
