"""The keys that dead letters are encrypted with: a credential like any other, whose fields are keys by id.

    {"current": "k2", "k1": "<32 bytes in base64>", "k2": ...}

The current one encrypts. All of them decrypt, so what an older one closed stays readable while it is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from rayetl.errors import CredentialError
from rayetl.records import dataclass
from rayetl.secrets.chain import Credentials
from rayetl.secrets.provider import Fields
from rayetl.secrets.secret import Credential, Secret
from rayetl.secrets.vault.document import bytes_of, text_of
from rayetl.secrets.vault.sealing import KEY_BYTES

CURRENT = "current"
_ID = re.compile(r"k[1-9][0-9]*")


def with_new_key(fields: Fields) -> tuple[Fields, str]:
    """The fields with one more random key, which is the current one, and its id."""
    if strange := [field for field in fields if field != CURRENT and not _ID.fullmatch(field)]:
        raise CredentialError(
            f"this credential holds something else than keys: {', '.join(sorted(strange))}",
            hint="choose another name for the key",
        )
    numbers = [int(field[1:]) for field in fields if field != CURRENT]
    kid = f"k{max(numbers, default=0) + 1}"
    return {**fields, kid: text_of(os.urandom(KEY_BYTES)), CURRENT: kid}, kid


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one credential, by id."""

    name: str
    current: str
    keys: Mapping[str, Secret]

    @classmethod
    def find(cls, name: str) -> Keyring:
        """The keys as they are now. Raises what `Credentials.find` raises, and `CredentialError` for a
        credential that holds no keys."""
        found = Credentials.here().look(name)
        if found is None:
            raise CredentialError(
                f"no credential {name!r} was found, which holds the key of the dead letters",
                hint=f"`rayetl vault new-key {name}` makes one; letters that are there need their own again",
            )
        return cls.of(found)

    @classmethod
    def of(cls, credential: Credential) -> Keyring:
        """The keys in a credential."""
        current = credential.required(CURRENT)
        keys = {
            field: Secret(credential.required(field)) for field in credential.fields if _ID.fullmatch(field)
        }
        ring = cls(credential.name, current, keys)
        ring.key(current)
        return ring

    def key(self, kid: str) -> bytes:
        """The bytes of a key. Raises `CredentialError`."""
        if kid not in self.keys:
            raise CredentialError(
                f"the credential {self.name!r} does not hold the key {kid!r}, which is needed",
                hint=f"put back the field {kid} of it; it holds: {', '.join(sorted(self.keys)) or 'no key'}",
            )
        try:
            key = bytes_of(self.keys[kid].reveal())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise CredentialError(
                f"the field {kid} of the credential {self.name!r} is no key of {KEY_BYTES} bytes in base64",
                hint="`rayetl vault new-key NAME` makes good ones",
            )
        return key
