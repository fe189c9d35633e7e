"""What the commands of `rayetl vault` share: their options, and the vault they work on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import prompts
from rayetl.errors import RayetlError
from rayetl.observability.text import clean
from rayetl.secrets import environment
from rayetl.secrets.vault import Vault, default_path
from rayetl.secrets.vault.vault import read

File = Annotated[
    Path | None,
    typer.Option("--file", help="The vault; by default RAYETL_VAULT_FILE or the user's own.", metavar="PATH"),
]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="Key file that opens it.", metavar="PATH")]


def path_of(file: Path | None) -> Path:
    """The vault that is meant."""
    return file or default_path(environment.variables())


def open_vault(file: Path | None, key_file: Path | None) -> Vault:
    """That vault, with what opens it. Raises `RayetlError` where there is none."""
    path = path_of(file)
    if read(path) is None:
        raise RayetlError(
            f"there is no vault at {path}", hint="`rayetl vault init` makes one, or name another with --file"
        )
    return Vault(path, prompts.opener(key_file))


def say(text: str) -> int:
    """A line on stdout; gives the exit code of success."""
    sys.stdout.write(clean(text) + "\n")
    return 0


def assert_name(name: str) -> None:
    """Raise a usage error for what no config can name."""
    if not name or not all(char.isalnum() or char in "_-" for char in name):
        raise typer.BadParameter("a name has letters, digits, `_` and `-`", param_hint="NAME")


def unknown(path: Path, name: str) -> RayetlError:
    """The fault of a name that the vault does not have."""
    document = read(path)
    names = ", ".join(sorted(document.entries)) if document else ""
    return RayetlError(f"the vault {path} has no credential {name!r}", hint=f"it has: {names or 'none yet'}")
