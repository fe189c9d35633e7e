"""An account at a service that speaks S3's protocol: plain data, from which each process makes its client.

Credentials belong to the account and to nothing else, so that two accounts work in one process at the same
time. Keys that were refused are looked up once more: they may have been changed meanwhile.
"""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rayetl.connectors.base import FileStore, InputFile
from rayetl.connectors.s3.faults import is_refusal, lost, told
from rayetl.errors import SourceError, Terminal
from rayetl.records import dataclass
from rayetl.secrets import Credential, Credentials, Secret

if TYPE_CHECKING:
    from rayetl.connectors.formats.options import ListingOptions


BROKEN_OFF = 3
"""How often an object is asked for whose content breaks off."""

ENDS = "ends_at_ms"
"""The field of lent keys that says when they end, in milliseconds since 1970; none if nobody said."""


class Lender(ABC):
    """Who hands out keys, and may hand out others each time: plain data, which asks when it is asked."""

    @property
    @abstractmethod
    def who(self) -> str:
        """Who it is, in words."""

    @abstractmethod
    def lend(self) -> Credential:
        """Keys as they are handed out now; see `ENDS`. Raises `CredentialError`, `Retryable` and what a
        fault of the lender is to whom it lends."""


@dataclass(frozen=True, slots=True)
class S3Account(FileStore):
    """Which service, and whose keys: those that `lender` hands out, those of the credential of that name,
    else what AWS's own tools would find on this machine. `path_style` is `None` where the service decides."""

    credential: str | None = None
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    lender: Lender | None = None

    @property
    def service(self) -> str:
        """The service, as errors and circuit breakers name it."""
        return f"s3 {urlsplit(self.endpoint).netloc}" if self.endpoint else "s3 amazonaws.com"

    @property
    def who(self) -> str:
        """Whose keys, in words."""
        if self.lender is not None:
            return self.lender.who
        return f"the credential {self.credential!r}" if self.credential else "the login of this machine"

    def files(self, path: str, options: ListingOptions) -> Iterable[InputFile]:
        from rayetl.connectors.s3.listing import files_behind

        return files_behind(self, path, options)

    def open(self, file: InputFile) -> io.RawIOBase:
        from rayetl.connectors.s3.reading import ObjectFile

        return ObjectFile(self, file)

    def call(
        self, operation: str, doing: str, fault: type[Terminal] = SourceError, **parameters: Any
    ) -> dict[str, Any]:
        """What the service answers to an operation, as boto3 names it. `doing` says in words what for.

        Raises `Missing`, `Precondition`, `fault` for all else that trying again does not mend,
        `CredentialError`, and `Retryable`.
        """
        with told(self, doing, fault):
            client = self._client()
            try:
                return client.call(operation, parameters)
            except Exception as error:
                fresh = self._renewed(client) if is_refusal(error) else None
                if fresh is None:
                    raise
            return fresh.call(operation, parameters)

    def content(
        self, doing: str, fault: type[Terminal] = SourceError, **parameters: Any
    ) -> tuple[bytes, dict[str, Any]]:
        """The bytes of an object or of a range of it, and all else of the answer. Raises as `call`."""
        for left in reversed(range(BROKEN_OFF)):
            answer = self.call("get_object", doing, fault, **parameters)
            from botocore.exceptions import BotoCoreError

            try:
                found: bytes = answer["Body"].read()
                return found, answer
            except (BotoCoreError, OSError) as error:
                # The driver sends a request again, but does not go on with an answer that broke off.
                if not left:
                    raise lost(self, doing, error) from error
        raise AssertionError

    def _client(self) -> _Client:
        with _LOCK:
            found = _CLIENTS.get((os.getpid(), self))
            return found or self._made(self.found())

    def _renewed(self, stale: _Client) -> _Client | None:
        """A client with the keys as they are now; `None` if they are the ones that were refused."""
        with _LOCK:
            now = _CLIENTS.get((os.getpid(), self), stale)
            if now is not stale or stale.credential is None:
                return now if now is not stale else None
            fresh = self.found()
            is_stale = fresh is None or dict(fresh.fields) == dict(stale.credential.fields)
            return None if is_stale else self._made(fresh)

    @property
    def is_path_style(self) -> bool:
        """Whether the name of the bucket stands in the path of an address."""
        return self.path_style if self.path_style is not None else self.endpoint is not None

    def keys(self, doing: str) -> Keys:
        """The keys as they are now, for a library with a client of its own: those of a role are asked for
        again before they end. Raises `CredentialError` and `Retryable`."""
        with told(self, doing, SourceError):
            return self._client().keys()

    def found(self) -> Credential | None:
        """The credential as it is now, if one is named or lent. Raises what `Lender.lend` raises."""
        if self.lender is not None:
            return self.lender.lend()
        return None if self.credential is None else Credentials.here().find(self.credential)

    def _made(self, credential: Credential | None) -> _Client:
        from rayetl.connectors.s3.login import make_client

        made = _CLIENTS[os.getpid(), self] = _Client(credential, *make_client(self, credential))
        return made


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens the buckets of an account, and the region that its requests are signed for."""

    access_key: Secret
    secret_key: Secret
    token: Secret | None
    region: str


@dataclass(frozen=True, slots=True)
class _Client:
    """A client of the driver with its session, and the credential that it was made with."""

    credential: Credential | None
    boto: Any
    session: Any

    def keys(self) -> Keys:
        from botocore.exceptions import NoCredentialsError

        found = self.session.get_credentials()
        if found is None:
            raise NoCredentialsError
        now = found.get_frozen_credentials()
        token = Secret(now.token) if now.token else None
        return Keys(Secret(now.access_key), Secret(now.secret_key), token, self.boto.meta.region_name)

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.boto, operation)(**parameters)
        return answer


_CLIENTS: dict[tuple[int, S3Account], _Client] = {}
"""By process: what a fork inherits are the sockets of its parent."""

_LOCK = threading.RLock()
