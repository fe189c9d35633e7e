"""`rayetl init`"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli.schema import schema_text
from rayetl.errors import RayetlError
from rayetl.observability.text import clean

SAMPLE = """\
order_id,customer,country,ordered_on,amount
1,Ada,GB,2024-03-01,120.50
2,Grace,US,2024-03-01,80.00
3,Edsger,NL,2024-03-02,42.25
4,Barbara,US,2024-03-02,-5.00
5,,GB,2024-03-03,17.30
6,Donald,US,2024-03-03,230.10
7,Ada,GB,2024-03-03,9.99
8,Grace,US,2024-03-04,61.40
"""


def init(
    path: Annotated[Path, typer.Argument(help="Config to write.", metavar="[PATH]")] = Path("pipeline.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> int:
    """Write a commented starter config that runs at once, with a little sample data beside it.

    \b
    Examples:
      rayetl init
      rayetl init demo/pipeline.yaml && cd demo && rayetl run pipeline.yaml
    """
    config = path / "pipeline.yaml" if path.is_dir() else path
    written = {
        config: files("rayetl.cli").joinpath("starter.yaml").read_text("utf-8"),
        config.parent / "data" / "orders.csv": SAMPLE,
        config.parent / ".rayetl" / "config.schema.json": schema_text(),
    }
    _refuse_existing([config, config.parent / "data" / "orders.csv"], force)
    for file, text in written.items():
        _write(file, text)
    sys.stdout.write(f"wrote {clean(str(config))} and data/orders.csv beside it; next:\n")
    if config.parent != Path():
        sys.stdout.write(f"  cd {clean(str(config.parent))}\n")
    sys.stdout.writelines(
        f"  rayetl {command} {clean(config.name)}\n" for command in ("check", "test", "run")
    )
    return 0


def _refuse_existing(paths: list[Path], force: bool) -> None:
    found = [str(path) for path in paths if path.exists()]
    if found and not force:
        raise RayetlError(f"already there: {', '.join(found)}", hint="name another path, or add --force")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise RayetlError(f"{path} cannot be written: {error.strerror}") from error
