"""`rayetl schema`"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file instead.", metavar="PATH")
    ] = None,
) -> int:
    """Print the JSON Schema of configs (Draft 2020-12), for editors and other checkers.

    \b
    Examples:
      rayetl schema > rayetl.schema.json
      rayetl schema --output .rayetl/config.schema.json
    """
    text = schema_text()
    if output is None:
        sys.stdout.write(text)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
    return 0


def schema_text() -> str:
    """The JSON Schema as text."""
    from rayetl.config.schema import json_schema

    return json.dumps(json_schema(), indent=2) + "\n"
