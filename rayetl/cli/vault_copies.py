"""`rayetl vault rotate-key`, `export` and `import`: a whole vault under another lock, or in another one"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import prompts
from rayetl.cli.vault_shared import File, KeyFile, assert_name, open_vault, say, unknown
from rayetl.errors import RayetlError
from rayetl.observability.text import many
from rayetl.secrets import environment
from rayetl.secrets.provider import Fields, texts_of
from rayetl.secrets.vault import Vault
from rayetl.secrets.vault.vault import read


def rotate_key(
    file: File = None,
    key_file: KeyFile = None,
    new_key_file: Annotated[
        Path | None,
        typer.Option("--new-key-file", help="Lock it with this key file from now on.", metavar="PATH"),
    ] = None,
    new_passphrase: Annotated[
        bool, typer.Option("--new-passphrase", help="Lock it with another passphrase from now on.")
    ] = False,
    keep_old: Annotated[
        bool,
        typer.Option("--keep-old", help="What opened it until now opens it as well, until the next time."),
    ] = False,
) -> int:
    """Seal everything anew under a new data key; on request with another passphrase or key file.

    \b
    Examples:
      rayetl vault rotate-key
      rayetl vault rotate-key --new-passphrase
      rayetl vault rotate-key --new-key-file new.key --keep-old
    """
    if new_passphrase and new_key_file:
        raise typer.BadParameter(
            "it takes one of --new-passphrase and --new-key-file", param_hint="--new-passphrase"
        )
    vault = open_vault(file, key_file)
    changing = new_passphrase or new_key_file is not None
    openers = [prompts.new_opener(new_key_file)] if changing else []
    if keep_old or not changing:
        openers.append(vault.opener)
    vault.rotate(tuple(openers))
    return say(f"sealed {vault.path} anew, opened by {' and by '.join(each.origin for each in openers)}")


def export(
    target: Annotated[
        Path | None, typer.Argument(help="Vault to make, with a lock of its own.", metavar="[TARGET]")
    ] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Write JSON in clear to stdout instead.")] = False,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="This credential only; may be repeated.", metavar="NAME"),
    ] = None,
    new_key_file: Annotated[
        Path | None, typer.Option("--new-key-file", help="Key file that locks TARGET.", metavar="PATH")
    ] = None,
    file: File = None,
    key_file: KeyFile = None,
) -> int:
    """Copy credentials into another vault, or show them as JSON.

    \b
    Examples:
      rayetl vault export backup.json
      rayetl vault export for-tim.json --name warehouse
      rayetl vault export --reveal | age -r age1... > vault.age
    """
    if (target is None) != reveal:
        raise typer.BadParameter("name a TARGET, or ask for clear text with --reveal", param_hint="TARGET")
    vault = open_vault(file, key_file)
    entries = vault.entries()
    if missing := [name for name in names or () if name not in entries]:
        raise unknown(vault.path, missing[0])
    chosen = {name: dict(fields) for name, fields in entries.items() if not names or name in names}
    if target is None:
        sys.stdout.write(json.dumps(chosen, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return 0
    copy = Vault.create(target, prompts.new_opener(new_key_file), chosen)
    return say(f"copied {many(len(chosen), 'credential')} into {target}, opened by {copy.opener.origin}")


def import_entries(
    source: Annotated[
        Path | None, typer.Argument(help="Vault to take from, or `-` for JSON on stdin.", metavar="[SOURCE]")
    ] = None,
    from_environment: Annotated[
        bool, typer.Option("--environment", help="Take what the environment holds (RAYETL_CREDENTIAL_...).")
    ] = False,
    source_key_file: Annotated[
        Path | None, typer.Option("--source-key-file", help="Key file that opens SOURCE.", metavar="PATH")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace credentials that are there.")] = False,
    file: File = None,
    key_file: KeyFile = None,
) -> int:
    """Take credentials from another vault, from JSON on stdin, or from the environment.

    \b
    Examples:
      rayetl vault import backup.json
      rayetl vault import --environment
      age -d vault.age | rayetl vault import -
    """
    if (source is None) != from_environment:
        raise typer.BadParameter("name a SOURCE, or ask for --environment", param_hint="SOURCE")
    vault = open_vault(file, key_file)
    given = _given(source, source_key_file)
    if not given:
        raise RayetlError("there is nothing to import")
    for name in given:
        assert_name(name)
    vault.put(given, replacing=replace)
    return say(f"took {', '.join(sorted(given))}")


def _given(source: Path | None, key_file: Path | None) -> dict[str, Fields]:
    if source is None:
        return environment.credentials(environment.variables())
    if str(source) != "-":
        if read(source) is None:
            raise RayetlError(f"there is no vault at {source}")
        return Vault(source, prompts.other_opener(key_file, f"passphrase of {source}: ")).entries()
    try:
        document = json.load(sys.stdin)
    except ValueError:
        raise RayetlError(
            "what came on stdin is no JSON", hint='{"warehouse": {"user": "etl", ...}}'
        ) from None
    if not isinstance(document, dict):
        raise RayetlError("what came on stdin is no object of credentials by name")
    return {name: texts_of(fields, f"stdin ({name})") for name, fields in document.items()}


COMMANDS: dict[str, Callable[..., int]] = {
    "rotate-key": rotate_key,
    "export": export,
    "import": import_entries,
}
