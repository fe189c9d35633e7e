"""The encrypted file: credentials by name in one file of this machine.

document.py   what is in the file, and the faults of its form
sealing.py    AES-256-GCM with a context that each sealed text is bound to
locks.py      how a passphrase or a key file opens it
storing.py    reading and replacing the file so that a crash leaves the old or the new one
vault.py      entries put in and taken out
provider.py   its place in the chain
"""

from __future__ import annotations

from rayetl.secrets.vault.locks import Opener, make_key_file
from rayetl.secrets.vault.provider import VaultProvider
from rayetl.secrets.vault.vault import Vault, default_path

__all__ = ["Opener", "Vault", "VaultProvider", "default_path", "make_key_file"]
