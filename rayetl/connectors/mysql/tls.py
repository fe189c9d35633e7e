"""How a connection is protected, by its `sslmode`."""

from __future__ import annotations

import ssl
from typing import Any

from rayetl.errors import CredentialError


def protection(mode: str, authority: str | None) -> dict[str, Any]:
    """What the driver is told; `authority` is the file of `sslrootcert`."""
    if mode == "disable":
        return {"ssl_disabled": True}
    if mode == "prefer":
        return {}
    context = unverified()
    verifies = mode != "require"
    try:
        if authority is not None:
            context.load_verify_locations(authority)
        elif verifies:
            context.load_default_certs()
    except OSError as error:
        raise CredentialError(
            f"the authority of `sslrootcert` cannot be read from {authority}: {error}",
            hint="it is a file of certificates in PEM form",
        ) from None
    if verifies:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = mode == "verify-full"
    return {"ssl": context}


def unverified() -> ssl.SSLContext:
    """For a server that need not prove who it is: the machine's list of authorities, which nobody would ask,
    takes longer to read than all the rest of a connection to make."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
