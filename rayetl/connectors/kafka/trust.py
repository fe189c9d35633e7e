"""Why the certificate of a broker does not hold. The driver says that it does not, and no more."""

from __future__ import annotations

import re
import socket
import ssl

from rayetl.errors import CredentialError

_ADDRESS = re.compile(r"\w+://\[?([^/\]]+)\]?:(\d+)/")
_PATIENCE = 5.0

_HINT = "name the authority of its certificates in `tls_ca`; `tls: false` is for a cluster without"

_DATES = (9, 10)
_NAMES = (62, 64)
"""What OpenSSL's numbers are about; all others are about who signed."""


def authorities(file: str | None) -> ssl.SSLContext:
    """The authorities in a file, or the system's. Raises `CredentialError` for a file that has none."""
    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise CredentialError(
            f"the authority of `tls_ca` cannot be read from {file}: {why}",
            hint="it is a file of certificates in PEM form (-----BEGIN CERTIFICATE-----)",
        ) from None
    # The driver is not as strict about how authorities were made.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def untrusted(said: str, endpoint: str, file: str | None) -> CredentialError:
    """What is wrong with the certificate of the broker that the driver's words name, from its showing it once
    more."""
    found = _ADDRESS.match(said)
    error = _shown(found[1], int(found[2]), authorities(file)) if found else None
    if error is None:
        return CredentialError(f"{endpoint} is not trusted: {said}", hint=_HINT)
    why, number = error.verify_message.rstrip("."), error.verify_code
    if number in _DATES:
        return CredentialError(
            f"{endpoint} is not trusted: its {why}",
            hint="give the broker a new one; is the clock here right?",
        )
    if number in _NAMES:
        return CredentialError(
            f"{endpoint} is not trusted: {why}",
            hint="name the broker in `brokers` as its certificate does, or give it one for this name",
        )
    known = f"the authority in {file}" if file else "the authorities of this machine"
    return CredentialError(
        f"{endpoint} is not trusted: its certificate was not signed by {known} ({why})", hint=_HINT
    )


def _shown(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLCertVerificationError | None:
    try:
        with (
            socket.create_connection((host, port), _PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return error
    except OSError:
        # It does not show it again; the driver's own words are all there is to say.
        return None
