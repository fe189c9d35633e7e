"""How the data key is wrapped: under a key made of a passphrase by argon2id, or of a key file."""

from __future__ import annotations

import binascii
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rayetl.errors import CredentialError
from rayetl.records import dataclass
from rayetl.secrets.secret import Secret
from rayetl.secrets.vault.document import Document, Lock, bytes_of, damaged, text_of
from rayetl.secrets.vault.sealing import KEY_BYTES, NotSealedSoError, missing_extra, seal, unseal

MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
"""Costs of argon2id for new locks: the second choice of RFC 9106, which fits everywhere."""

_LEAST = (19 * 1024, 2, 1)
_MOST = (4 * 1024 * 1024, 64, 64)
"""Bounds of the costs that a file may ask for: below, guessing is cheap; above, it stops this machine."""

SHORTEST = 12
"""Characters that a passphrase must have."""

_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Opener:
    """What opens a vault: a passphrase or a key file, and where it came from, in words."""

    origin: str
    passphrase: Secret | None = None
    key_file: Path | None = None

    @property
    def kind(self) -> str:
        """The kind of lock that it opens."""
        return "argon2id" if self.passphrase is not None else "key_file"

    def wrap(self, data_key: bytes, vault: str, key: str) -> Lock:
        """A new lock with `data_key` in it. Raises `CredentialError`."""
        bare = Lock(self.kind, os.urandom(_SALT_BYTES))
        if self.passphrase is not None:
            if len(self.passphrase.reveal()) < SHORTEST:
                raise CredentialError(f"a passphrase has at least {SHORTEST} characters")
            bare = replace(bare, memory_kib=MEMORY_KIB, passes=PASSES, lanes=LANES)
        return replace(bare, wrapped=seal(self._key(bare), data_key, *_context(bare, vault, key)))

    def open(self, document: Document, path: Path) -> bytes:
        """The data key of a vault. Raises `CredentialError`."""
        fitting = [lock for lock in document.locks if lock.kind == self.kind]
        for data_key in self._tried(fitting, document, path):
            return data_key
        if not fitting:
            other = "a key file" if self.passphrase is not None else "a passphrase"
            raise CredentialError(
                f"the vault {path} is opened by {other}, and {self.origin} is none",
                hint=f"set {'RAYETL_VAULT_KEY_FILE' if self.passphrase else 'RAYETL_VAULT_PASSPHRASE'}",
            )
        raise CredentialError(
            f"{self.origin} does not open the vault {path}: it is another one than the vault was locked with",
            hint="the file itself is whole; is it the passphrase or key file of another vault?",
        )

    def _tried(self, locks: list[Lock], document: Document, path: Path) -> Iterator[bytes]:
        for lock in locks:
            _assert_costs(lock, path)
            try:
                yield unseal(self._key(lock), lock.wrapped, *_context(lock, document.vault, document.key))
            except NotSealedSoError:
                continue

    def _key(self, lock: Lock) -> bytes:
        if self.passphrase is not None:
            return _stretched(self.passphrase, lock.salt, lock.memory_kib, lock.passes, lock.lanes)
        assert self.key_file is not None
        return _expanded(read_key_file(self.key_file), lock.salt)


def _context(lock: Lock, vault: str, key: str) -> tuple[str, ...]:
    costs = f"{lock.memory_kib}/{lock.passes}/{lock.lanes}"
    return "lock", vault, key, lock.kind, text_of(lock.salt), costs


def _assert_costs(lock: Lock, path: Path) -> None:
    if lock.kind != "argon2id":
        return
    costs = (lock.memory_kib, lock.passes, lock.lanes)
    within = (low <= cost <= high for low, cost, high in zip(_LEAST, costs, _MOST, strict=True))
    if not all(within) or len(lock.salt) < _SALT_BYTES:
        raise damaged(path, "its passphrase is protected less, or much more, than rayetl ever does")


@lru_cache(maxsize=4)
def _stretched(passphrase: Secret, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    """Kept, because it costs a tenth of a second on purpose, and every connection of a run asks for it."""
    try:
        from argon2.low_level import Type, hash_secret_raw
    except ImportError as error:
        raise missing_extra() from error
    # The same letters are of other bytes where another keyboard or program wrote them.
    secret = unicodedata.normalize("NFC", passphrase.reveal()).encode("utf-8", "surrogateescape")
    return hash_secret_raw(secret, salt, passes, memory_kib, lanes, KEY_BYTES, Type.ID)


def _expanded(key: bytes, salt: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise missing_extra() from error
    return HKDF(SHA256(), KEY_BYTES, salt, b"rayetl vault key file").derive(key)


def make_key_file(path: Path) -> None:
    """A new random key in a new file that only its owner reads. Raises `CredentialError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text_of(os.urandom(KEY_BYTES)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CredentialError(f"the key file {path} cannot be written: {error.strerror}") from error


def read_key_file(path: Path) -> bytes:
    """The key in a file that nobody but its owner reads. Raises `CredentialError`."""
    try:
        with path.open("rb") as file:
            assert_private(os.fstat(file.fileno()), path, "key file")
            text = file.read(4096)
    except OSError as error:
        raise CredentialError(
            f"the key file {path} cannot be read: {error.strerror}",
            hint="RAYETL_VAULT_KEY_FILE or --key-file names it",
        ) from error
    try:
        key = bytes_of(text.decode("ascii").strip())
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise CredentialError(
            f"{path} holds no key",
            hint="a key file is 32 random bytes in base64; `rayetl vault init --key-file PATH` makes one",
        )
    return key


def assert_private(found: os.stat_result, path: Path, what: str) -> None:
    """Raise `CredentialError` for a file that another user owns, reads or writes."""
    if not stat.S_ISREG(found.st_mode):
        raise CredentialError(f"the {what} {path} is no ordinary file")
    if found.st_uid not in (os.geteuid(), 0):
        raise CredentialError(
            f"the {what} {path} belongs to another user (id {found.st_uid})",
            hint=f"chown it: chown $(id -u) {path}",
        )
    if found.st_mode & 0o077:
        raise CredentialError(
            f"the {what} {path} is open to other users (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"close it, and change what is in it if somebody may have read it: chmod 600 {path}",
        )
