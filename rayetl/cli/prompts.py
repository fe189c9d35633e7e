"""Secrets as a person or a pipe gives them: never an argument, never shown while they are typed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rayetl.errors import RayetlError
from rayetl.observability.text import many
from rayetl.secrets.environment import variables
from rayetl.secrets.secret import Secret
from rayetl.secrets.vault.locks import Opener, make_key_file
from rayetl.secrets.vault.provider import KEY_FILE, PASSPHRASE, opener_of

OTHER_PASSPHRASE = "RAYETL_VAULT_OTHER_PASSPHRASE"
"""Of a vault that is exported to or imported from, or the one that a vault is changed to."""


def opener(key_file: Path | None) -> Opener:
    """What opens a vault that exists: `--key-file`, else the environment, else a passphrase typed now."""
    if key_file is not None:
        return _by_file(key_file)
    return opener_of(variables()) or _typed(ask("passphrase of the vault: ", f"{KEY_FILE} or {PASSPHRASE}"))


def new_opener(key_file: Path | None, variable: str = OTHER_PASSPHRASE) -> Opener:
    """What a lock is made for: a key file, which is made where there is none, else the passphrase in
    `variable`, else one typed twice."""
    if key_file is not None:
        if not key_file.exists():
            make_key_file(key_file)
        return _by_file(key_file)
    if given := variables().get(variable):
        return Opener(f"the passphrase in {variable}", passphrase=Secret(given))
    first = ask("new passphrase: ", f"--key-file or {variable}")
    if ask("the same again: ", variable) != first:
        raise RayetlError("the two passphrases are not the same", hint="nothing was written")
    return _typed(first)


def other_opener(key_file: Path | None, prompt: str) -> Opener:
    """What opens a vault beside the own one."""
    if key_file is not None:
        return _by_file(key_file)
    if given := variables().get(OTHER_PASSPHRASE):
        return Opener(f"the passphrase in {OTHER_PASSPHRASE}", passphrase=Secret(given))
    return _typed(ask(prompt, f"--source-key-file or {OTHER_PASSPHRASE}"))


def first_opener(key_file: Path | None) -> Opener:
    """What locks a vault that is being made: what would open it, else a passphrase typed twice."""
    found = None if key_file is not None else opener_of(variables())
    if found is None or found.key_file is not None:
        return new_opener(found.key_file if found else key_file, PASSPHRASE)
    return found


def _by_file(path: Path) -> Opener:
    return Opener(f"the key file {path}", key_file=path)


def _typed(passphrase: Secret) -> Opener:
    return Opener("the passphrase that was typed", passphrase=passphrase)


def ask(prompt: str, instead: str) -> Secret:
    """A secret typed at the terminal, unseen. Where there is none, raises `RayetlError` that names what to
    use `instead`."""
    import getpass

    try:
        with open("/dev/tty"):
            pass
    except OSError:
        raise RayetlError("there is no terminal to ask for a passphrase", hint=f"use {instead}") from None
    try:
        typed = getpass.getpass(prompt)
    except EOFError:
        raise RayetlError("nothing was typed", hint="nothing was written") from None
    except UnicodeDecodeError:
        raise _no_text("what was typed") from None
    return Secret(typed)


def _no_text(what: str) -> RayetlError:
    return RayetlError(f"{what} is no text in UTF-8", hint="is the terminal or file in another encoding?")


def values(fields: Sequence[str]) -> dict[str, Secret]:
    """A secret for each field: asked for at a terminal; from a pipe one a line, all of it for one field."""
    if not fields:
        return {}
    if sys.stdin.isatty():
        found = [ask(f"{field}: ", "a pipe") for field in fields]
    else:
        try:
            text = sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise _no_text("what came on stdin") from None
        lines = [text] if len(fields) == 1 else text.split("\n")
        if len(lines) != len(fields):
            raise RayetlError(
                f"stdin has {many(len(lines), 'line')} for {len(fields)} fields ({', '.join(fields)})",
                hint="give one line for each, in this order; nothing was written",
            )
        # A file from Windows ends its lines otherwise.
        found = [Secret(line.removesuffix("\r")) for line in lines]
    empty = [field for field, value in zip(fields, found, strict=True) if not value]
    if empty:
        raise RayetlError(f"no value was given for {', '.join(empty)}", hint="nothing was written")
    return dict(zip(fields, found, strict=True))
