"""HashiCorp Vault as a place of credentials, against a server that speaks its documented endpoints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.certificates import Authority
from services.hashicorp import ROLE, SECRET_ID, TOKEN, HashicorpVault

from rayetl.errors import CredentialError, CredentialUnavailable
from rayetl.secrets import Credentials, hashicorp
from rayetl.secrets.hashicorp import provider_of

KEPT = {"user": "etl", "password": "c4n4ry-password", "port": 5432}


@pytest.fixture
def vault() -> Iterator[HashicorpVault]:
    with HashicorpVault({"rayetl/warehouse": KEPT, "rayetl/gone": None}) as server:
        yield server


@pytest.fixture(autouse=True)
def no_kept_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hashicorp, "_TOKENS", hashicorp._Tokens())


def by_token(vault: HashicorpVault, **more: str) -> dict[str, str]:
    return {"VAULT_ADDR": vault.address, "VAULT_TOKEN": TOKEN, **more}


def by_role(vault: HashicorpVault, **more: str) -> dict[str, str]:
    return {"VAULT_ADDR": vault.address, "VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": SECRET_ID, **more}


def test_a_secret_is_found_by_token(vault: HashicorpVault) -> None:
    provider = provider_of(by_token(vault))
    assert provider is not None
    assert provider.find("warehouse") == {"user": "etl", "password": "c4n4ry-password", "port": "5432"}
    assert provider.find("else") is None
    assert provider.find("gone") is None
    assert (
        provider.place("warehouse") == f"HashiCorp Vault at {vault.address} (secret secret/rayetl/warehouse)"
    )
    assert "c4n4ry" not in repr(provider)


def test_mount_prefix_and_namespace_are_the_machines(vault: HashicorpVault) -> None:
    vault.mount, vault.namespace, vault.secrets = (
        "kv/team",
        "ns1",
        {"warehouse": KEPT, "deep/er/warehouse": KEPT},
    )
    settings = {"RAYETL_HASHICORP_MOUNT": "kv/team", "VAULT_NAMESPACE": "ns1"}
    for prefix in ("", "/deep/er/"):
        provider = provider_of(by_token(vault, RAYETL_HASHICORP_PREFIX=prefix, **settings))
        assert provider is not None
        assert provider.find("warehouse")
    provider = provider_of(by_token(vault, RAYETL_HASHICORP_MOUNT="kv/team", RAYETL_HASHICORP_PREFIX=""))
    assert provider is not None
    assert provider.find("warehouse") is None


def test_a_role_logs_in_once_and_again_when_its_token_is_revoked(vault: HashicorpVault) -> None:
    provider = provider_of(by_role(vault))
    assert provider is not None
    assert provider.find("warehouse") == provider.find("warehouse")
    logins = vault.asked.count("POST /v1/auth/approle/login")
    assert logins == 1
    vault.tokens.clear()
    assert provider.find("warehouse")
    assert vault.asked.count("POST /v1/auth/approle/login") == 2


def test_a_token_of_a_role_is_kept_for_a_part_of_its_life_only(
    vault: HashicorpVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(hashicorp.time, "monotonic", lambda: now[0])
    provider = provider_of(by_role(vault))
    assert provider is not None
    for second, logins in ((0, 1), (1799, 1), (2701, 2)):
        now[0] = 1000.0 + second
        assert provider.find("warehouse")
        assert vault.asked.count("POST /v1/auth/approle/login") == logins


def test_the_token_that_vault_login_left_is_used(vault: HashicorpVault, tmp_path: Path) -> None:
    (tmp_path / ".vault-token").write_text(TOKEN + "\n")
    provider = provider_of({"VAULT_ADDR": vault.address, "HOME": str(tmp_path)})
    assert provider is not None
    assert provider.find("warehouse")


def found(environment: dict[str, str]) -> object:
    provider = provider_of(environment)
    assert provider is not None
    return provider.find("warehouse")


def failure(vault: HashicorpVault, environment: dict[str, str]) -> CredentialError | CredentialUnavailable:
    with pytest.raises((CredentialError, CredentialUnavailable)) as fault:
        found(environment)
    said = f"{fault.value} {fault.value.__cause__}"
    assert "c4n4ry" not in said
    assert isinstance(fault.value, CredentialError | CredentialUnavailable)
    return fault.value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"VAULT_TOKEN": "c4n4ry-wrong"}, "does not let this token read secret/rayetl/warehouse"),
        ({"VAULT_TOKEN": "", "HOME": "/nowhere"}, "needs a login, and none is there"),
        ({"VAULT_TOKEN": "", "VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": "c4n4ry"}, "refuses the role"),
        ({"VAULT_TOKEN": "", "VAULT_ROLE_ID": ROLE}, "needs a login"),
        ({"VAULT_ADDR": "http://vault.example.com:8200"}, "over https only"),
        ({"VAULT_ADDR": "vault.example.com"}, "over https only"),
        ({"VAULT_ADDR": "https://user:c4n4ry@127.0.0.1"}, "VAULT_ADDR holds a user or password"),
    ],
)
def test_what_is_refused_is_said(vault: HashicorpVault, change: dict[str, str], said: str) -> None:
    error = failure(vault, {**by_token(vault), **change})
    assert isinstance(error, CredentialError)
    assert said in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("status", "said"),
    [(503, "is sealed"), (500, "cannot answer"), (429, "cannot answer"), (502, "cannot answer")],
)
def test_a_vault_that_is_not_ready_is_tried_again(vault: HashicorpVault, status: int, said: str) -> None:
    vault.status = status
    error = failure(vault, by_token(vault))
    assert isinstance(error, CredentialUnavailable)
    assert said in error.message
    assert error.endpoint == f"vault {vault.address}"


@pytest.mark.parametrize("status", [307, 418, 400])
def test_an_answer_that_is_not_vaults_is_a_fault(vault: HashicorpVault, status: int) -> None:
    vault.status = status
    assert isinstance(failure(vault, by_token(vault)), CredentialError)
    assert len(vault.asked) == 1, "a redirect is not followed"


def test_nobody_there_is_tried_again(vault: HashicorpVault) -> None:
    environment = by_token(vault, VAULT_ADDR="http://127.0.0.1:9")
    assert "cannot be reached" in failure(vault, environment).message


def test_no_answer_ends_in_time(vault: HashicorpVault, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hashicorp.TIMEOUT == (3.0, 10.0)
    monkeypatch.setattr(hashicorp, "TIMEOUT", (1.0, 0.1))
    vault.hang = threading.Event()
    assert "does not answer in time" in failure(vault, by_token(vault)).message


@pytest.mark.parametrize("kept", [{"password": ["c4n4ry"]}, {"password": {"c4n4ry": 1}}, {}, {"on": True}])
def test_fields_that_are_no_text_are_refused(vault: HashicorpVault, kept: dict[str, object]) -> None:
    vault.secrets["rayetl/warehouse"] = kept
    assert isinstance(failure(vault, by_token(vault)), CredentialError)


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with HashicorpVault(
        {"rayetl/warehouse": KEPT}, certificate=authority.certificate("vault of a test")
    ) as vault:
        error = failure(vault, by_token(vault))
        assert isinstance(error, CredentialError)
        assert "its certificate does not hold" in error.message
        assert not vault.asked
        error = failure(vault, by_token(vault, VAULT_SKIP_VERIFY="true"))
        assert "its certificate does not hold" in error.message
        provider = provider_of(by_token(vault, VAULT_CACERT=str(authority.ca)))
        assert provider is not None
        assert provider.find("warehouse")


def test_it_is_asked_after_the_environment(vault: HashicorpVault, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in by_token(vault).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAYETL_CREDENTIAL_OTHER__PASSWORD", "x")
    chain = Credentials.here()
    assert chain.find("other").place.startswith("the environment")
    assert not vault.asked
    assert chain.find("warehouse").place.startswith("HashiCorp Vault")
    with pytest.raises(CredentialError) as fault:
        chain.find("nowhere")
    places = [
        fault.value.hint.find(word) for word in ("encrypted file", "the environment", "HashiCorp", "AWS")
    ]
    assert places == sorted(places)
    assert -1 not in places
