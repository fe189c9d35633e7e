"""AWS Secrets Manager as a place of credentials, against moto's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from rayetl.errors import CredentialError, CredentialUnavailable
from rayetl.secrets import Credentials, aws
from rayetl.secrets.aws import AwsProvider, provider_of


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def manager(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": server,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "c4n4ry-access",
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.Session(region_name="eu-central-1").client("secretsmanager")


@pytest.fixture
def keep(manager: Any) -> Iterator[Any]:
    made: list[str] = []

    def kept(name: str, **value: Any) -> None:
        manager.create_secret(Name=name, **value)
        made.append(name)

    yield kept
    for name in made:
        manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def test_a_secret_is_found(keep: Any) -> None:
    fields = {"username": "etl", "password": "c4n4ry", "port": 5432}
    keep("rayetl/warehouse", SecretString=json.dumps(fields))
    provider = AwsProvider("rayetl/")
    assert provider.find("warehouse") == {"username": "etl", "password": "c4n4ry", "port": "5432"}
    assert provider.find("else") is None
    assert provider.place("warehouse") == "AWS Secrets Manager (secret rayetl/warehouse)"


def test_a_rotated_secret_is_seen(keep: Any, manager: Any) -> None:
    keep("warehouse", SecretString='{"password": "old"}')
    assert AwsProvider("").find("warehouse") == {"password": "old"}
    manager.put_secret_value(SecretId="warehouse", SecretString='{"password": "new"}')
    assert AwsProvider("").find("warehouse") == {"password": "new"}


@pytest.mark.parametrize(
    "value",
    [
        {"SecretString": "c4n4ry"},
        {"SecretString": '["c4n4ry"]'},
        {"SecretBinary": b"c4n4ry"},
        {"SecretString": '{"password": ["c4n4ry"]}'},
    ],
)
def test_what_is_no_credential_is_refused(keep: Any, value: dict[str, Any]) -> None:
    keep("warehouse", **value)
    with pytest.raises(CredentialError, match="warehouse") as fault:
        AwsProvider("").find("warehouse")
    assert "c4n4ry" not in str(fault.value)


def test_it_is_used_where_a_prefix_is_set_only() -> None:
    assert provider_of({}) is None
    assert provider_of({"RAYETL_AWS_SECRETS": "rayetl/"}) == AwsProvider("rayetl/")


def test_it_is_the_last_of_the_chain(keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_AWS_SECRETS", "rayetl/")
    keep("rayetl/a", SecretString='{"password": "of aws"}')
    assert Credentials.here().find("a").reveal("password") == "of aws"
    monkeypatch.setenv("RAYETL_CREDENTIAL_A__PASSWORD", "of the environment")
    assert Credentials.here().find("a").reveal("password") == "of the environment"


class _Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_secret_value(self, **_: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", CredentialError),
        ("UnrecognizedClientException", CredentialError),
        ("ExpiredTokenException", CredentialError),
        ("DecryptionFailure", CredentialError),
        ("InvalidRequestException", CredentialError),
        ("ThrottlingException", CredentialUnavailable),
        ("InternalServiceError", CredentialUnavailable),
    ],
)
def test_refused_is_told_from_busy(code: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    error = ClientError({"Error": {"Code": code, "Message": "c4n4ry"}}, "GetSecretValue")
    monkeypatch.setattr(aws, "_client", lambda: _Broken(error))
    with pytest.raises(kind, match=code) as fault:
        AwsProvider("").find("a")
    assert "c4n4ry" not in str(fault.value)


def test_nobody_there_is_tried_again(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(CredentialUnavailable, match="cannot be reached"):
        AwsProvider("").find("a")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "NoCredentialsError"),
        (("AWS_REGION",), "NoRegionError"),
    ],
)
def test_a_machine_without_login_or_region_is_told(
    manager: Any, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], said: str
) -> None:
    for name in missing:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere/at/all")
    with pytest.raises(CredentialError, match=said):
        AwsProvider("").find("a")
