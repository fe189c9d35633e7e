"""Credentials by name: where they are looked up, and how they stay out of every output.

A config names a credential; the process that opens a connection looks it up at that moment:

    from rayetl.secrets import Credential, Credentials

    connection = Credentials.here().connect("warehouse", open_connection, is_refusal)
"""

from __future__ import annotations

from rayetl.secrets.chain import Credentials
from rayetl.secrets.secret import Credential, Secret

__all__ = ["Credential", "Credentials", "Secret"]
