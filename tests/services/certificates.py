"""An authority of the tests' own, and the certificates that it signs for this machine."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PEM = serialization.Encoding.PEM
_HERE = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


class Authority:
    """Signs certificates. What a client that trusts it is given is in the file `ca`."""

    def __init__(self, directory: Path, name: str = "authority of a test") -> None:
        self._directory = directory
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._signed(self._name, self._key, 1, x509.BasicConstraints(ca=True, path_length=0))
        self.ca = directory / f"{name.replace(' ', '-')}.pem"
        self.ca.write_bytes(own.public_bytes(_PEM))

    def certificate(self, name: str, *, days: int = 1) -> Path:
        """A file with a key and its certificate for 127.0.0.1, which ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_named(name), key, days, _HERE)
        form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path = self._directory / f"{name.replace(' ', '-')}.pem"
        path.write_bytes(key.private_bytes(_PEM, form, open_) + made.public_bytes(_PEM))
        return path

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int, said: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(said, critical=isinstance(said, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
