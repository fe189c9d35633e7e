"""Clients of the driver, each with the keys of one account. Importing this needs boto3."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from boto3.session import Session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.credentials import Credentials as Keys
from botocore.loaders import create_loader
from botocore.session import Session as Core

from rayetl.connectors.s3.account import ENDS
from rayetl.errors import CredentialError
from rayetl.secrets import Credential

if TYPE_CHECKING:
    from rayetl.connectors.s3.account import S3Account

ATTEMPTS = 4
"""How often a request is sent before it counts as failed; the driver waits longer between each two."""

CONNECT, READ = 5, 60
"""Seconds for connecting, and for each piece of an answer."""

CONNECTIONS = 16
"""Connections of a client that are kept open."""

ROLE = "role_arn"

EARLY, LATE = 120, 30
"""Seconds before their end at which lent keys are asked for again, and at which nothing is done without new
ones. A lender may give the same ones until they are over."""

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When keys end of which nobody says when, or that it is later."""

_MODELS = create_loader()
"""The descriptions of services, which are large: all sessions of a process share them."""


def make_client(account: S3Account, credential: Credential | None) -> tuple[Any, Session]:
    """A client of S3 with the keys of `credential` or of its role; without one, with what AWS's own tools
    find; and its session. Raises `CredentialError` for a credential without keys, and what the driver
    raises."""
    session = _session(account, credential, with_role=True)
    style = _style(account.is_path_style)
    return _client(account, credential, session, "s3", account.endpoint, s3=style), session


def _style(by_path: bool) -> dict[str, str]:
    return {"addressing_style": "path" if by_path else "auto"}


def _client(
    account: S3Account,
    credential: Credential | None,
    session: Session,
    service: str,
    endpoint: str | None,
    **more: Any,
) -> Any:
    region = account.region or (credential and credential.reveal("region")) or os.environ.get("AWS_REGION")
    config = Config(
        connect_timeout=CONNECT,
        read_timeout=READ,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        # Checksums that other services than AWS do not know are left out; parts are sent with their MD5.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **more,
    )
    return session.client(
        service,
        region_name=region or session.region_name or "us-east-1",
        endpoint_url=endpoint,
        config=config,
    )


def _session(account: S3Account, credential: Credential | None, *, with_role: bool) -> Session:
    """A session that knows the keys of the credential and no others."""
    core = Core()
    core.register_component("data_loader", _MODELS)
    if credential is not None and account.lender is not None:
        _only(core, partial(_lent, account, credential))
    elif credential is not None and with_role and credential.reveal(ROLE) is not None:
        _only(core, partial(_of_role, account))
    elif credential is not None and (with_role or credential.reveal("access_key_id") is not None):
        _only(core, partial(_static, credential))
    return Session(botocore_session=core)


def _only(core: Core, load: Callable[[], Any]) -> None:
    core.register_component("credential_provider", CredentialResolver([_Provider(load)]))


class _Provider(CredentialProvider):  # type: ignore[misc]
    """Gives one set of keys."""

    METHOD = "rayetl"

    def __init__(self, load: Callable[[], Any]) -> None:
        super().__init__()
        self.load = load


def _static(credential: Credential) -> Any:
    return Keys(
        credential.required("access_key_id", "aws_access_key_id"),
        credential.required("secret_access_key", "aws_secret_access_key"),
        credential.reveal("session_token") or credential.reveal("aws_session_token"),
    )


def _lent(account: S3Account, credential: Credential) -> Any:
    """Keys that somebody hands out, asked for again before they end."""

    def again() -> dict[str, str | None]:
        found = account.found()
        assert found is not None
        given = _until(found)
        if datetime.fromisoformat(str(given["expiry_time"])) <= datetime.now(UTC):
            raise CredentialError(
                f"the keys that {account.who} hands out are over before they are used",
                hint="is the clock of this machine right?",
            )
        return given

    return RefreshableCredentials.create_from_metadata(
        _until(credential), again, "lent", advisory_timeout=EARLY, mandatory_timeout=LATE
    )


def _until(credential: Credential) -> dict[str, str | None]:
    ends = credential.reveal(ENDS)
    seconds = _NEVER.timestamp() if ends is None else min(int(ends) / 1000, _NEVER.timestamp())
    return {
        "access_key": credential.required("access_key_id"),
        "secret_key": credential.required("secret_access_key"),
        "token": credential.reveal("session_token"),
        "expiry_time": datetime.fromtimestamp(seconds, UTC).isoformat(),
    }


def _of_role(account: S3Account) -> Any:
    """Keys of a role, asked for again some minutes before they end."""
    asked = partial(_assumed, account)
    return RefreshableCredentials.create_from_metadata(asked(), asked, ROLE)


def _assumed(account: S3Account) -> dict[str, str]:
    """Keys of the role of the account's credential, which is looked up now."""
    credential = account.found()
    assert credential is not None
    session = _session(account, credential, with_role=False)
    endpoint = credential.reveal("sts_endpoint") or account.endpoint
    named = {"RoleArn": credential.required(ROLE), "RoleSessionName": f"rayetl-{os.getpid()}"}
    if (external := credential.reveal("external_id")) is not None:
        named["ExternalId"] = external
    found = _client(account, credential, session, "sts", endpoint).assume_role(**named)["Credentials"]
    return {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "token": found["SessionToken"],
        "expiry_time": found["Expiration"].isoformat(),
    }
