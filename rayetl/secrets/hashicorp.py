"""Credentials in HashiCorp Vault: secrets of its key/value engine, version 2, one for each credential.

Described by the variables that Vault's own command line knows, `VAULT_ADDR`, `VAULT_NAMESPACE`,
`VAULT_CACERT` and `VAULT_TOKEN` (or the file `~/.vault-token`); for AppRole by `VAULT_ROLE_ID` and
`VAULT_SECRET_ID`. Where the secrets are, `RAYETL_HASHICORP_MOUNT` (`secret`) and `RAYETL_HASHICORP_PREFIX`
(`rayetl`) say.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rayetl.errors import CredentialError, CredentialUnavailable
from rayetl.hosts import is_here
from rayetl.records import dataclass
from rayetl.secrets.provider import Fields, Provider, texts_of
from rayetl.secrets.secret import Secret

if TYPE_CHECKING:
    import hvac

ABSENT = "HashiCorp Vault (VAULT_ADDR is not set)"

TIMEOUT = (3.0, 10.0)
"""Seconds for connecting, and for each answer."""


def provider_of(environment: Mapping[str, str]) -> HashicorpProvider | None:
    """The Vault that the environment describes, `None` if it describes none. Raises `CredentialError`."""
    address = environment.get("VAULT_ADDR", "").rstrip("/")
    if not address:
        return None
    _assert_protected(address)
    role, secret = environment.get("VAULT_ROLE_ID"), environment.get("VAULT_SECRET_ID")
    token = environment.get("VAULT_TOKEN") or (None if role else _kept_token(environment))
    return HashicorpProvider(
        address,
        mount=environment.get("RAYETL_HASHICORP_MOUNT") or "secret",
        prefix=environment.get("RAYETL_HASHICORP_PREFIX", "rayetl").strip("/"),
        namespace=environment.get("VAULT_NAMESPACE"),
        authority=environment.get("VAULT_CACERT"),
        token=Secret(token) if token else None,
        role=role,
        secret=Secret(secret) if secret else None,
    )


def _assert_protected(address: str) -> None:
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise CredentialError("VAULT_ADDR holds a user or password", hint="log in by VAULT_TOKEN or AppRole")
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and is_here(parts.hostname):
        return
    raise CredentialError(
        f"VAULT_ADDR is {address!r}: rayetl asks a Vault over https only, or on this machine itself",
        hint="set VAULT_ADDR=https://HOST:8200, and VAULT_CACERT where the authority is your own",
    )


def _kept_token(environment: Mapping[str, str]) -> str | None:
    """The token that `vault login` left."""
    path = Path(environment.get("HOME", "/nowhere"), ".vault-token")
    return path.read_text().strip() if path.is_file() else None


@dataclass(frozen=True, slots=True)
class HashicorpProvider(Provider):
    """Asks at every call. The token of an AppRole is kept for part of its life, because a secret id may be
    good for a few logins only."""

    address: str
    mount: str
    prefix: str
    namespace: str | None = None
    authority: str | None = None
    token: Secret | None = field(default=None, repr=False)
    role: str | None = None
    secret: Secret | None = field(default=None, repr=False)

    def place(self, name: str) -> str:
        return f"HashiCorp Vault at {self.address} (secret {self.mount}/{self._path(name)})"

    def find(self, name: str) -> Fields | None:
        answer = self._read(name, self._token())
        if answer is _REFUSED and self.token is None:
            # The token of the role may have been revoked before its time.
            _TOKENS.forget(self._role_key())
            answer = self._read(name, self._token())
        if answer is _REFUSED:
            raise self._fault(f"does not let this token read {self.mount}/{self._path(name)}")
        if answer is None:
            return None
        return texts_of(answer, self.place(name))

    def _path(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _read(self, name: str, token: Secret) -> Any:
        """The fields of a secret; `None` if there is none, `_REFUSED` where the token may not read it."""
        from hvac import exceptions

        with self._speaking():
            try:
                kv = self._client(token).secrets.kv.v2
                answer = kv.read_secret_version(
                    self._path(name), mount_point=self.mount, raise_on_deleted_version=True
                )
                return answer["data"]["data"]
            except exceptions.InvalidPath:
                return None
            except exceptions.Forbidden:
                return _REFUSED

    def _token(self) -> Secret:
        if self.token is not None:
            return self.token
        if not self.role or self.secret is None:
            raise CredentialError(
                f"HashiCorp Vault at {self.address} needs a login, and none is there",
                hint="set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID",
            )
        return _TOKENS.get(self._role_key()) or self._log_in(self.role, self.secret)

    def _log_in(self, role: str, secret: Secret) -> Secret:
        from hvac import exceptions

        with self._speaking():
            try:
                client = self._client(None)
                found = client.auth.approle.login(role, secret.reveal(), use_token=False)["auth"]
                token, life = Secret(found["client_token"]), float(found["lease_duration"])
            except (exceptions.InvalidRequest, exceptions.Forbidden):
                raise self._fault("refuses the role: is the secret id expired or used up?") from None
        _TOKENS.keep(self._role_key(), token, life)
        return token

    def _role_key(self) -> tuple[str, ...]:
        return self.address, self.namespace or "", self.role or ""

    def _client(self, token: Secret | None) -> hvac.Client:
        import hvac

        # A redirect would carry the token to another host.
        return hvac.Client(
            url=self.address,
            token=token.reveal() if token else "",
            verify=self.authority or True,
            timeout=TIMEOUT,
            namespace=self.namespace,
            allow_redirects=False,
        )

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Faults of the conversation in words of ours; the driver's may quote what was sent."""
        try:
            import requests
            from hvac import exceptions
        except ImportError as error:
            raise CredentialError(
                "HashiCorp Vault needs a package that is not installed", hint="pip install 'rayetl[vault]'"
            ) from error
        try:
            yield
        except requests.exceptions.SSLError:
            raise self._fault(
                "cannot be trusted: its certificate does not hold",
                "set VAULT_CACERT to the file of the authority that signed it",
            ) from None
        except exceptions.VaultDown:
            raise self._away("is sealed, or not ready") from None
        except (exceptions.InternalServerError, exceptions.BadGateway, exceptions.RateLimitExceeded):
            raise self._away("cannot answer at the moment") from None
        except requests.exceptions.Timeout:
            raise self._away("does not answer in time") from None
        except requests.exceptions.RequestException:
            raise self._away("cannot be reached") from None
        except exceptions.VaultError as error:
            raise self._fault(f"refuses: {type(error).__name__}") from None
        except (KeyError, TypeError, ValueError):
            raise self._fault(
                "gives an answer that is not Vault's",
                f"is {self.address} the active node, and {self.mount!r} a key/value engine of version 2?",
            ) from None

    def _fault(self, what: str, hint: str | None = None) -> CredentialError:
        default = f"look at the policy and the login: vault kv get -mount={self.mount} {self._path('NAME')}"
        return CredentialError(f"HashiCorp Vault at {self.address} {what}", hint=hint or default)

    def _away(self, what: str) -> CredentialUnavailable:
        return CredentialUnavailable(
            f"HashiCorp Vault at {self.address} {what}",
            hint="does it run, is it unsealed, and does VAULT_ADDR hold? try: vault status",
            endpoint=f"vault {self.address}",
        )


_REFUSED = object()


class _Tokens:
    """Tokens of roles with the moment at which each is too old."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[Secret, float]] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> Secret | None:
        with self._lock:
            token, until = self._kept.get(key, (None, 0.0))
        return token if time.monotonic() < until else None

    def keep(self, key: tuple[str, ...], token: Secret, life: float) -> None:
        """Keep it for two to three quarters of its life: many processes do not log in again at once."""
        until = time.monotonic() + life * random.uniform(0.5, 0.75)
        with self._lock:
            self._kept[key] = token, until

    def forget(self, key: tuple[str, ...]) -> None:
        with self._lock:
            self._kept.pop(key, None)


_TOKENS = _Tokens()
