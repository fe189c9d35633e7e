"""The encrypted file in the chain of providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from rayetl.errors import CredentialError
from rayetl.records import dataclass
from rayetl.secrets.provider import Fields, Provider
from rayetl.secrets.secret import Secret
from rayetl.secrets.vault.locks import Opener
from rayetl.secrets.vault.vault import FILE, Vault, default_path, read

PASSPHRASE, KEY_FILE = "RAYETL_VAULT_PASSPHRASE", "RAYETL_VAULT_KEY_FILE"


def opener_of(environment: Mapping[str, str]) -> Opener | None:
    """What the environment says that opens the vault; a key file comes first."""
    if key_file := environment.get(KEY_FILE):
        return Opener(f"the key file {key_file}", key_file=Path(key_file).expanduser())
    if passphrase := environment.get(PASSPHRASE):
        return Opener(f"the passphrase in {PASSPHRASE}", passphrase=Secret(passphrase))
    return None


@dataclass(frozen=True, slots=True)
class VaultProvider(Provider):
    """Looks into the file at each call. Names are readable without a key, so a vault that does not have one
    need not be opened."""

    path: Path
    opener: Opener | None = field(repr=False)
    must_be: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> VaultProvider:
        """The vault that the environment describes."""
        return cls(default_path(environment), opener_of(environment), FILE in environment)

    def place(self, name: str) -> str:
        return f"the encrypted file {self.path} (rayetl vault set {name} ...)"

    def find(self, name: str) -> Fields | None:
        document = read(self.path)
        if document is None and self.must_be:
            raise CredentialError(
                f"{FILE} names the vault {self.path}, which is not there", hint="`rayetl vault init` makes it"
            )
        if document is None or name not in document.entries:
            return None
        if self.opener is None:
            raise CredentialError(
                f"the credential {name!r} is in the vault {self.path}, which is locked",
                hint=f"set {KEY_FILE} or {PASSPHRASE}",
            )
        return Vault(self.path, self.opener).find(name)
