"""`rayetl dlq`"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at refused rows and replay them.")
