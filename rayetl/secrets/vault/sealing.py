"""AES-256-GCM. Every sealed text is bound to a context: opened under another one, it is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from rayetl.errors import CredentialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class NotSealedSoError(Exception):
    """Another key, another context, or changed bytes: which of them cannot be told."""


def seal(key: bytes, plain: bytes, *context: str) -> bytes:
    """`plain` encrypted under `key`, to be opened with the same `context` only."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plain, _bound(context))


def unseal(key: bytes, sealed: bytes, *context: str) -> bytes:
    """What was sealed. Raises `NotSealedSoError`."""
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(context))
    except (InvalidTag, ValueError):
        raise NotSealedSoError from None


def _bound(context: tuple[str, ...]) -> bytes:
    # As JSON, so that no two lists of words give the same bytes.
    return json.dumps(context).encode()


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise missing_extra() from error
    return AESGCM(key)


def missing_extra() -> CredentialError:
    """What is said where the packages that encrypt are not installed."""
    return CredentialError(
        "encryption needs packages that are not installed",
        hint="pip install 'rayetl[vault]'",
    )
