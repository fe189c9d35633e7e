"""`rayetl schema`"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.errors import RayetlError


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
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text, "utf-8")
        except OSError as error:
            raise RayetlError(f"the schema cannot be written to {output}: {error.strerror}") from error
    return 0


def schema_text() -> str:
    """The JSON Schema as text."""
    from rayetl.config.schema import json_schema

    return json.dumps(json_schema(), indent=2) + "\n"
