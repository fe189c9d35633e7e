"""How a Kafka cluster is reached: settings, credentials, and plain errors."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.kafka.cluster import Cluster, Refused
from rayetl.connectors.kafka.trust import authorities
from rayetl.hosts import assert_no_login, is_here
from rayetl.secrets import Credential, Credentials
from rayetl.secrets.naming import UsesCredential

_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


class UsesKafka(UsesCredential):
    """The part of a connector that says which cluster. User and password are those of the credential."""

    brokers: str = Field(
        description="Where the cluster is first asked, as `host:port`; several with commas.",
        examples=["kafka-1.example.com:9092,kafka-2.example.com:9092"],
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the user of a `credential` proves who it is."
    )
    tls: bool | None = Field(
        default=None,
        description="Whether connections are encrypted and the brokers' certificates and names verified; by "
        "default wherever a broker is not of this machine, and with `tls_ca`.",
    )
    tls_ca: str | None = Field(
        default=None,
        min_length=1,
        description="File of the authority that signed the brokers' certificates; by default the system's "
        "authorities.",
        examples=["/etc/ssl/certs/company.pem"],
    )

    @field_validator("brokers")
    @classmethod
    def _are_brokers(cls, value: str) -> str:
        for each in value.split(","):
            assert_no_login(each.strip())
            found = _BROKER.fullmatch(each.strip())
            if found is None or not 0 < int(found[1]) < 65_536:
                raise ValueError(f"{each.strip()!r} is not a broker; write host:port, several with commas")
        return value

    @model_validator(mode="after")
    def _authority_of_something(self) -> Self:
        if self.tls is False and self.tls_ca is not None:
            raise ValueError("`tls_ca` has no meaning with `tls: false`; leave one of them out")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        hosts = [each.strip().rpartition(":")[0].strip("[]") for each in self.brokers.split(",")]
        return self.tls_ca is not None or not all(map(is_here, hosts)) if self.tls is None else self.tls

    def endpoint(self) -> str | None:
        """The cluster, as errors and circuit breakers name it."""
        return f"kafka {self.brokers}"

    def connect(self) -> Cluster:
        """The cluster, once it has answered; a credential is looked up now, and once more when it is refused.

        Raises `CredentialError` and `Retryable`; `LoadError` where the driver is not installed.
        """

        def opened(credential: Credential | None) -> Cluster:
            return Cluster(self._settings(credential), self.endpoint() or "", credential)

        if self.credential is None:
            return opened(None)
        return Credentials.here().connect(self.credential, opened, lambda error: isinstance(error, Refused))

    def _settings(self, credential: Credential | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "bootstrap.servers": self.brokers,
            "client.id": "rayetl",
        }
        if self.is_encrypted and self.tls_ca is not None:
            authorities(self.tls_ca)
            found["ssl.ca.location"] = self.tls_ca
        if credential is not None:
            user, password = (credential.required(*names) for names in (("user", "username"), ("password",)))
            found |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": user,
                "sasl.password": password,
            }
        found["security.protocol"] = ("SASL_" if credential else "") + (
            "SSL" if self.is_encrypted else "PLAINTEXT"
        )
        return found
