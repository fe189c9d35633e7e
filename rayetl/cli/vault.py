"""`rayetl vault init`, `set`, `get`, `list`, `delete`, `new-key`, `rotate-key`, `import` and `export`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import prompts, settings, shared
from rayetl.cli import vault_copies as copies
from rayetl.cli.vault_shared import File, KeyFile, assert_name, open_vault, path_of, say, unknown
from rayetl.errors import RayetlError
from rayetl.observability.text import Table, Writer
from rayetl.secrets import keyring
from rayetl.secrets.provider import Fields
from rayetl.secrets.secret import MASK, PUBLIC_FIELDS
from rayetl.secrets.vault import Vault
from rayetl.secrets.vault.vault import read

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keep credentials in an encrypted file. It is opened by a key file (RAYETL_VAULT_KEY_FILE), the "
    "passphrase in RAYETL_VAULT_PASSPHRASE, or one typed at the terminal.",
)

Name = Annotated[str, typer.Argument(help="Name of the credential, as configs say it.", metavar="NAME")]


@app.command("init", epilog=settings.EPILOG)
def init(
    file: File = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file", help="Lock it with this key file, made if it is not there.", metavar="PATH"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a vault, and lose what is in it.")] = False,
) -> int:
    """Make an empty vault, locked by a passphrase or a key file.

    \b
    Examples:
      rayetl vault init
      rayetl vault init --key-file ~/.config/rayetl/vault.key
    """
    path = path_of(file)
    if not force and read(path) is not None:
        raise RayetlError(
            f"there is a vault at {path} already",
            hint="name another file, or add --force, which loses everything that is in it",
        )
    opener = prompts.first_opener(key_file)
    Vault.create(path, opener, replacing=force)
    return say(f"made the vault {path}, opened by {opener.origin}")


@app.command("set", epilog=settings.EPILOG)
def set_fields(
    name: Name,
    fields: Annotated[
        list[str],
        typer.Argument(
            help="FIELD for a secret, asked for or read from stdin; FIELD=VALUE for what is none: "
            f"{', '.join(sorted(PUBLIC_FIELDS))}.",
            metavar="FIELD...",
        ),
    ],
    file: File = None,
    key_file: KeyFile = None,
) -> int:
    """Set fields of a credential; others that it has stay as they are.

    \b
    Examples:
      rayetl vault set warehouse host=db.example.com database=sales user=etl password
      rayetl vault set warehouse password < password.txt
      pass show s3 | rayetl vault set lake access_key_id secret_access_key
    """
    assert_name(name)
    public = dict(_public(field) for field in fields if "=" in field)
    wanted = [field.lower() for field in fields if "=" not in field]
    vault = open_vault(file, key_file)
    given = {field: value.reveal() for field, value in prompts.values(wanted).items()}
    vault.change(name, lambda before: {**(before or {}), **public, **given})
    return say(f"set {', '.join([*public, *given])} of {name}")


def _public(assignment: str) -> tuple[str, str]:
    field, _, value = assignment.partition("=")
    if field.lower() not in PUBLIC_FIELDS:
        raise typer.BadParameter(
            f"`{field}` is kept as a secret, and everybody on a machine can read command lines: give it "
            "alone, it is asked for or read from stdin; if it is one, choose another value: this was seen",
            param_hint="FIELD",
        )
    return field.lower(), value


@app.command("get", epilog=settings.EPILOG)
def get(
    name: Name,
    field: Annotated[str | None, typer.Argument(help="One field alone.", metavar="[FIELD]")] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the secrets themselves.")] = False,
    file: File = None,
    key_file: KeyFile = None,
    as_json: shared.Json = False,
) -> int:
    """Show a credential; its secrets only with --reveal.

    \b
    Examples:
      rayetl vault get warehouse
      rayetl vault get warehouse password --reveal
    """
    found = _fields(open_vault(file, key_file), name)
    if field is not None and field not in found:
        raise RayetlError(
            f"{name} has no field {field!r}", hint=f"its fields are: {', '.join(sorted(found))}"
        )
    shown = {
        each: value if reveal or each in PUBLIC_FIELDS else MASK
        for each, value in sorted(found.items())
        if field in (None, each)
    }
    if as_json:
        shared.write_json(shown)
    elif field is not None:
        sys.stdout.write(shown[field] + "\n")
    else:
        Writer(sys.stdout).table(Table(name, ("field", "value"), tuple(shown.items())))
    return 0


def _fields(vault: Vault, name: str) -> Fields:
    found = vault.find(name)
    if found is None:
        raise unknown(vault.path, name)
    return found


@app.command("list", epilog=settings.EPILOG)
def list_names(file: File = None, as_json: shared.Json = False) -> int:
    """List the credentials by name; asks for no key, and shows nothing that needs one.

    \b
    Examples:
      rayetl vault list
      rayetl vault list --json | jq -r '.[].name'
    """
    path = path_of(file)
    document = read(path)
    if document is None:
        raise RayetlError(f"there is no vault at {path}", hint="`rayetl vault init` makes one")
    rows = [(name, str(entry.version), entry.changed) for name, entry in sorted(document.entries.items())]
    if as_json:
        shared.write_json([dict(zip(("name", "version", "changed"), row, strict=True)) for row in rows])
        return 0
    title = f"{len(rows)} credential{'' if len(rows) == 1 else 's'} in {path}, data key {document.key}"
    Writer(sys.stdout).table(Table(title, ("name", "version", "changed (UTC)"), tuple(rows), frozenset({1})))
    return 0


@app.command("delete", epilog=settings.EPILOG)
def delete(
    name: Name,
    fields: Annotated[
        list[str] | None, typer.Argument(help="Only these fields of it.", metavar="[FIELD]...")
    ] = None,
    file: File = None,
    key_file: KeyFile = None,
) -> int:
    """Delete a credential, or fields of it.

    \b
    Examples:
      rayetl vault delete warehouse
      rayetl vault delete warehouse sslmode
    """
    vault, wanted = open_vault(file, key_file), fields or []

    def changed(before: Fields | None) -> Fields | None:
        if before is None:
            raise unknown(vault.path, name)
        if missing := [field for field in wanted if field not in before]:
            raise RayetlError(
                f"{name} has no field {missing[0]!r}", hint=f"its fields are: {', '.join(sorted(before))}"
            )
        left = {field: value for field, value in before.items() if field not in wanted}
        return left if wanted and left else None

    vault.change(name, changed)
    return say(f"deleted {', '.join(wanted)} of {name}" if wanted else f"deleted {name}")


@app.command("new-key", epilog=settings.EPILOG)
def new_key(name: Name, file: File = None, key_file: KeyFile = None) -> int:
    """Make a random key for encrypting dead letters; again, and it is the one in use from then on, while the
    older ones still open what they closed.

    \b
    Examples:
      rayetl vault new-key rejects
    """
    assert_name(name)
    made: list[str] = []

    def with_key(before: Fields | None) -> Fields:
        fields, kid = keyring.with_new_key(before or {})
        made.append(kid)
        return fields

    vault = open_vault(file, key_file)
    vault.change(name, with_key)
    return say(f"made the key {made[-1]} of {name}; it encrypts from now on")


for name, function in copies.COMMANDS.items():
    app.command(name, epilog=settings.EPILOG)(function)
