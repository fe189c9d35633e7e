"""How a config says whose buckets are meant, and at which service. Importing this loads no driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.base import Load
from rayetl.connectors.places import S3, FilePath, LocalPath, is_on_s3, split_key
from rayetl.connectors.s3.account import S3Account
from rayetl.hosts import is_here
from rayetl.model import Model
from rayetl.secrets.naming import UsesCredential

if TYPE_CHECKING:
    from rayetl.connectors.s3.target import S3Target


class S3Settings(Model):
    """The service; by default that of AWS."""

    endpoint: str | None = Field(
        default=None,
        description="Address of a service that speaks S3's protocol; by default AWS. Roles are asked for "
        "there too.",
        examples=["https://minio.example.com:9000"],
    )
    region: str | None = Field(
        default=None,
        min_length=1,
        description="By default the credential's `region`, or that of AWS's own tools.",
        examples=["eu-central-1"],
    )
    path_style: bool | None = Field(
        default=None,
        description="Whether the name of the bucket stands in the path of an address and not in the name of "
        "the host; by default where `endpoint` is given.",
    )
    allow_http: bool = Field(
        default=False,
        description="Whether `endpoint` may be reached without encryption; on this machine itself it may.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint is an address like https://minio.example.com:9000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an endpoint is an address and nothing else; keys are kept in a `credential`")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _nobody_between(self) -> Self:
        if self.endpoint is not None and not self.allow_http and not is_safe(self.endpoint):
            raise ValueError(
                f"the endpoint {self.endpoint} is reached without encryption: write https, or set "
                "`allow_http: true` if that is meant"
            )
        return self


class S3LoadSettings(S3Settings):
    """The service, and how a load keeps its files there."""

    encryption: Literal["AES256", "aws:kms"] | None = Field(
        default=None,
        description="How the service encrypts files at rest: `AES256` (SSE-S3) or `aws:kms` (SSE-KMS); by "
        "default as the bucket says.",
    )
    kms_key: str | None = Field(
        default=None,
        min_length=1,
        description="Id or ARN of the key for `aws:kms`; by default AWS's own.",
        examples=["alias/lake"],
    )
    staging: LocalPath = Field(
        default=".rayetl/staging",
        min_length=1,
        description="Directory of this machine where files wait until they are sent; it needs room for those "
        "of a run.",
        examples=["/scratch/rayetl"],
    )

    @model_validator(mode="after")
    def _key_of_the_encryption(self) -> Self:
        if self.kms_key is not None and self.encryption != "aws:kms":
            raise ValueError("`kms_key` is for `encryption: aws:kms`")
        return self

    @property
    def protection(self) -> tuple[tuple[str, str], ...]:
        """The parameters of requests that make objects."""
        given = {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key}
        return tuple((name, value) for name, value in given.items() if value is not None)


def is_safe(endpoint: str) -> bool:
    """Whether nobody can listen in between here and a service."""
    parts = urlsplit(endpoint)
    return parts.scheme == "https" or is_here(parts.hostname or "")


class UsesS3(UsesCredential):
    """The part of a source or load of files that says whose buckets its paths are of."""

    s3: S3Settings | None = Field(
        default=None,
        description="The service of an `s3://` path; by default AWS. `credential` names the keys, by default "
        "those that AWS's own tools find on this machine.",
        examples=[{"endpoint": "https://minio.example.com:9000", "region": "eu-central-1"}],
    )

    @property
    def account(self) -> S3Account:
        """The account that opens the buckets."""
        found = self.s3 or S3Settings()
        return S3Account(self.credential, found.endpoint, found.region, found.path_style)

    def assert_places(self, paths: Sequence[str]) -> None:
        """Raises `ValueError` for paths of both kinds, and for settings of S3 without a path there."""
        kinds = {is_on_s3(path) for path in paths}
        if len(kinds) > 1:
            raise ValueError("paths of this machine and of S3 are two sources; `union` puts them together")
        given = [name for name in ("credential", "s3") if getattr(self, name) is not None]
        if kinds == {False} and given:
            raise ValueError(
                f"`{given[0]}` is for paths on S3 ({S3}bucket/...); files of this machine need none"
            )


class LoadsHereOrToS3(UsesS3, Load):
    """The part of a load whose `path` is a directory of this machine or a prefix of a bucket."""

    path: FilePath
    s3: S3LoadSettings | None = Field(
        default=None,
        description="The service of an `s3://` path, and how files are protected there; by default AWS. "
        "`credential` names the keys, by default those that AWS's own tools find on this machine.",
        examples=[{"endpoint": "https://minio.example.com:9000", "encryption": "AES256"}],
    )

    @model_validator(mode="after")
    def _known_place(self) -> Self:
        self.assert_places([self.path])
        if is_on_s3(self.path) and not self._prefix:
            raise ValueError(
                f"a load needs a prefix of its own in the bucket, as {self.path.rstrip('/')}/daily"
            )
        return self

    @property
    def _prefix(self) -> str:
        return split_key(self.path)[1].strip("/")

    @property
    def settings(self) -> S3LoadSettings:
        """How files are kept at the service."""
        return self.s3 or S3LoadSettings()

    @property
    def bucket(self) -> S3Target:
        """What lies behind an `s3://` path."""
        from rayetl.connectors.s3.target import S3Target

        return S3Target(self.account, split_key(self.path)[0], self._prefix, self.settings.protection)

    def location(self) -> str | None:
        return f"{S3}{split_key(self.path)[0]}/{self._prefix}" if is_on_s3(self.path) else super().location()

    def directory(self) -> str | None:
        return self.settings.staging if is_on_s3(self.path) else self.path

    def endpoint(self) -> str | None:
        return self.account.service if is_on_s3(self.path) else None
