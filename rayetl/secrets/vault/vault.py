"""A vault that is open: what is in it, and its changes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from rayetl.errors import CredentialError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass
from rayetl.secrets.provider import Fields
from rayetl.secrets.vault import storing
from rayetl.secrets.vault.document import Document, Entry, damaged, parse
from rayetl.secrets.vault.locks import Opener
from rayetl.secrets.vault.sealing import KEY_BYTES, NotSealedSoError, seal, unseal

FILE = "RAYETL_VAULT_FILE"


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the vault of this user is: `RAYETL_VAULT_FILE`, or `rayetl/vault.json` in the directory of the
    user's settings."""
    if named := environment.get(FILE):
        return Path(named).expanduser()
    settings = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(settings).expanduser() / "rayetl" / "vault.json"


def read(path: Path) -> Document | None:
    """The vault as it is on disk, still locked; `None` if there is none. Raises `CredentialError`."""
    data = storing.read(path)
    return None if data is None else parse(data, path)


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault that was opened. What is done to it is written at once; another process may do the same."""

    path: Path
    opener: Opener

    @classmethod
    def create(
        cls, path: Path, opener: Opener, entries: Mapping[str, Fields] = {}, *, replacing: bool = False
    ) -> Self:
        """A new vault with these entries in it. Raises `CredentialError`, also where there is one and not
        `replacing`."""
        with storing.editing(path):
            if not replacing and storing.read(path) is not None:
                raise CredentialError(
                    f"there is a vault at {path} already",
                    hint="name another file, or add --force, which loses everything that is in it",
                )
            vault = secrets.token_hex(8)
            state = _State(Document(vault, "", ()), b"").rekeyed((opener,))
            storing.replace(path, state.with_entries(entries).sealed().dump())
        return cls(path, opener)

    def entries(self) -> dict[str, Fields]:
        """Everything in clear. Raises `CredentialError`."""
        state = self._state()
        return {name: state.fields(name, self.path) for name in state.document.entries}

    def find(self, name: str) -> Fields | None:
        """One credential in clear, `None` if there is none. Raises `CredentialError`."""
        state = self._state()
        return state.fields(name, self.path) if name in state.document.entries else None

    def put(self, entries: Mapping[str, Fields], *, replacing: bool = False) -> None:
        """Put in all of these at once. Raises `CredentialError` where there is one of the same name and not
        `replacing`."""

        def put(state: _State) -> _State:
            there = sorted(set(entries) & set(state.document.entries))
            if there and not replacing:
                raise CredentialError(
                    f"the vault {self.path} has {', '.join(there)} already",
                    hint="add --replace, or delete it first; nothing was written",
                )
            return state.with_entries(entries)

        self._edit(put)

    def change(self, name: str, change: Callable[[Fields | None], Fields | None]) -> None:
        """Put what `change` makes of a credential in its place; `None` stands for one that is not there.
        Nobody else changes it meanwhile. Raises what `change` raises."""

        def changed(state: _State) -> _State:
            before = state.fields(name, self.path) if name in state.document.entries else None
            after = change(before)
            return state.without(name) if after is None else state.with_entries({name: after})

        self._edit(changed)

    def rotate(self, openers: tuple[Opener, ...]) -> Self:
        """Seal everything anew under a new data key, which each of `openers` opens and nobody else."""
        self._edit(lambda state: state.rekeyed(openers, self.path))
        return replace(self, opener=openers[0])

    def _edit(self, change: Callable[[_State], _State]) -> None:
        with storing.editing(self.path):
            failpoint("vault.locked")
            storing.replace(self.path, change(self._state()).sealed().dump())

    def _state(self) -> _State:
        document = read(self.path)
        if document is None:
            raise CredentialError(
                f"there is no vault at {self.path}",
                hint="`rayetl vault init` makes one, or name another file",
            )
        state = _State(document, self.opener.open(document, self.path))
        state.assert_whole(self.path)
        return state


@dataclass(frozen=True, slots=True, repr=False)
class _State:
    """A document with its data key."""

    document: Document
    data_key: bytes

    def assert_whole(self, path: Path) -> None:
        """Raise where the document is not as it was sealed although its checksum holds."""
        try:
            unseal(self.data_key, self.document.seal, "seal", self.document.covered())
        except NotSealedSoError:
            for name in self.document.entries:
                self.fields(name, path)
            raise damaged(path, "entries were taken out, or put back as they once were") from None

    def fields(self, name: str, path: Path) -> Fields:
        entry = self.document.entries[name]
        try:
            plain = unseal(self.data_key, entry.sealed, *self._context(name, entry.version))
        except NotSealedSoError:
            raise damaged(path, f"the entry {name!r} is not what was stored under this name") from None
        found: Fields = json.loads(plain)
        return found

    def with_entries(self, entries: Mapping[str, Fields]) -> _State:
        made = {name: self._made(name, fields) for name, fields in entries.items()}
        return self._with({**self.document.entries, **made})

    def without(self, name: str) -> _State:
        return self._with({each: entry for each, entry in self.document.entries.items() if each != name})

    def rekeyed(self, openers: tuple[Opener, ...], path: Path = Path()) -> _State:
        key, data_key = secrets.token_hex(4), os.urandom(KEY_BYTES)
        locks = tuple(opener.wrap(data_key, self.document.vault, key) for opener in openers)
        fresh = _State(replace(self.document, key=key, locks=locks), data_key)
        entries = {
            name: replace(entry, sealed=fresh._sealed(name, entry.version, self.fields(name, path)))
            for name, entry in self.document.entries.items()
        }
        return fresh._with(entries)

    def sealed(self) -> Document:
        covered = self.document.covered()
        return replace(self.document, seal=seal(self.data_key, b"", "seal", covered))

    def _with(self, entries: Mapping[str, Entry]) -> _State:
        return replace(self, document=replace(self.document, entries=entries))

    def _made(self, name: str, fields: Fields) -> Entry:
        before = self.document.entries.get(name)
        version = before.version + 1 if before else 1
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return Entry(version, now, self._sealed(name, version, fields))

    def _sealed(self, name: str, version: int, fields: Fields) -> bytes:
        plain = json.dumps(dict(fields), sort_keys=True).encode()
        return seal(self.data_key, plain, *self._context(name, version))

    def _context(self, name: str, version: int) -> tuple[str, ...]:
        return "entry", self.document.vault, self.document.key, name, str(version)
