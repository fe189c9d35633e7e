"""Servers that a config or credential names."""

from __future__ import annotations

import pytest

from rayetl.connectors.postgres.source import PostgresSource
from rayetl.errors import CredentialError
from rayetl.hosts import assert_no_login


def test_a_password_before_a_server_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_STORE__HOST", "etl:c4n4ry@db.example.com")
    monkeypatch.setenv("RAYETL_CREDENTIAL_STORE__DATABASE", "sales")
    source = PostgresSource.model_validate({"type": "postgres", "credential": "store", "table": "t"})
    with pytest.raises(CredentialError, match=r"'host' of the credential 'store'.* before the `@`") as told:
        source.connect()
    assert "c4n4ry" not in f"{told.value.message} {told.value.hint}"
    for name in "@socket", "db.example.com", "/run/postgresql":
        assert_no_login(name)
