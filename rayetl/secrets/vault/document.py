"""What is in the file: JSON in which names are readable and everything else is sealed.

    {"format": "rayetl-vault-1", "vault": ID, "key": KEY ID,
     "locks": [{"kind": "argon2id", "salt": ..., "memory_kib": 65536, "passes": 3, "lanes": 4,
                "wrapped": ...}],
     "entries": {"warehouse": {"version": 2, "changed": "2026-11-23T10:00:00Z", "sealed": ...}},
     "seal": ..., "checksum": ...}

One data key seals the entries, each with its name, version and key id as context. Each lock holds the data
key wrapped under a passphrase or a key file. The seal covers all of it, so that no entry can be taken out,
swapped or put back as it was once; the checksum, which needs no key, tells damage from a wrong passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from rayetl.errors import CredentialError
from rayetl.records import dataclass

FORMAT = "rayetl-vault-1"


@dataclass(frozen=True, slots=True)
class Lock:
    """The data key wrapped under one passphrase (`argon2id`, with its costs) or key file (`key_file`)."""

    kind: str
    salt: bytes
    wrapped: bytes = b""
    memory_kib: int = 0
    passes: int = 0
    lanes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The lock as it is written."""
        costs = {"memory_kib": self.memory_kib, "passes": self.passes, "lanes": self.lanes}
        own = costs if self.kind == "argon2id" else {}
        return {"kind": self.kind, "salt": text_of(self.salt), **own, "wrapped": text_of(self.wrapped)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One credential, sealed. `version` counts its changes, `changed` is when the last one was."""

    version: int
    changed: str
    sealed: bytes

    def to_dict(self) -> dict[str, Any]:
        """The entry as it is written."""
        return {"version": self.version, "changed": self.changed, "sealed": text_of(self.sealed)}


@dataclass(frozen=True, slots=True)
class Document:
    """The whole file. `vault` names it for its life, `key` its present data key."""

    vault: str
    key: str
    locks: tuple[Lock, ...]
    entries: Mapping[str, Entry] = field(default_factory=dict)
    seal: bytes = b""

    def covered(self) -> str:
        """All that the seal is over, in one form."""
        return json.dumps(self._head(), sort_keys=True)

    def dump(self) -> bytes:
        """The bytes of the file."""
        whole = {**self._head(), "seal": text_of(self.seal)}
        return json.dumps({**whole, "checksum": _checksum(whole)}, indent=1).encode() + b"\n"

    def _head(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "vault": self.vault,
            "key": self.key,
            "locks": [lock.to_dict() for lock in self.locks],
            "entries": {name: self.entries[name].to_dict() for name in sorted(self.entries)},
        }


def parse(data: bytes, path: Path) -> Document:
    """The document in `data`. Raises `CredentialError` where it is none, or damaged."""
    try:
        whole = json.loads(data)
    except ValueError:
        raise damaged(path, "it is not whole JSON") from None
    if not isinstance(whole, dict) or not str(whole.get("format", "")).startswith("rayetl-vault-"):
        raise damaged(path, "it is no file of `rayetl vault`")
    if whole["format"] != FORMAT:
        raise CredentialError(
            f"the vault {path} is of the format {whole['format']!r}, which this version does not know",
            hint="use the version of rayetl that wrote it, or a newer one",
        )
    if whole.pop("checksum", None) != _checksum(whole):
        raise damaged(path, "its checksum does not hold")
    try:
        return _document(whole)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise damaged(path, "a part of it is missing or of another form") from None


def _document(whole: dict[str, Any]) -> Document:
    locks = tuple(Lock(**_typed(lock, {"salt", "wrapped"})) for lock in whole["locks"])
    entries = {name: Entry(**_typed(entry, {"sealed"})) for name, entry in whole["entries"].items()}
    return Document(whole["vault"], whole["key"], locks, entries, bytes_of(whole["seal"]))


def _typed(fields: dict[str, Any], sealed: set[str]) -> dict[str, Any]:
    return {name: bytes_of(value) if name in sealed else value for name, value in fields.items()}


def _checksum(whole: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def text_of(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    """Base64 as bytes. Raises `ValueError`."""
    return base64.b64decode(text, validate=True)


def damaged(path: Path, how: str) -> CredentialError:
    """The fault of a file that is not as it was written."""
    return CredentialError(
        f"the vault {path} is damaged: {how}",
        hint="put back a copy of the file (`rayetl vault export` makes one), or begin a new one with "
        "`rayetl vault init --force`",
    )
