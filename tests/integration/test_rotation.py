"""Passwords and keys that are changed while a run is under way: picked up after the first refusal, no row lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rayetl import Pipeline
from rayetl.errors import CredentialError
from rayetl.secrets import Secret
from rayetl.secrets.provider import Fields
from rayetl.secrets.vault import Opener, Vault, VaultProvider, make_key_file


@dataclass(frozen=True)
class Store:
    """A database of the connector `kind`, whose user's password `change` changes."""

    kind: str
    database: Any
    change: Callable[[str], None]


CHANGES = {
    "postgres": "ALTER ROLE {user} PASSWORD '{password}'",
    "mysql": "ALTER USER {user}@127.0.0.1 IDENTIFIED BY '{password}'",
}


@pytest.fixture(params=CHANGES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    server = request.getfixturevalue("postgres_server" if request.param == "postgres" else "mysql8_server")
    made = server.create()

    def change(password: str) -> None:
        server.superuser.execute(CHANGES[request.param].format(user=made.user, password=password))

    yield Store(request.param, made, change)
    server.drop(made)


@pytest.fixture
def vault(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.chdir(tmp_path)
    make_key_file(tmp_path / "key")
    monkeypatch.setenv("RAYETL_VAULT_FILE", str(tmp_path / "vault.json"))
    monkeypatch.setenv("RAYETL_VAULT_KEY_FILE", str(tmp_path / "key"))
    made = Vault.create(tmp_path / "vault.json", Opener("the key file", key_file=tmp_path / "key"))
    fields = {name: str(value) for name, value in store.database.config.items()}
    made.put({"warehouse": fields})
    ids = ", ".join(f"({number})" for number in range(1000))
    store.database.execute("CREATE TABLE t (id bigint)", f"INSERT INTO t VALUES {ids}")
    return made


def pipeline(of: Store) -> Pipeline:
    store = {"type": of.kind, "credential": "warehouse"}
    return Pipeline.from_dict(
        {"name": "p", "extract": {**store, "table": "t"}, "load": {**store, "table": "r", "mode": "append"}}
    )


def rotating(monkeypatch: pytest.MonkeyPatch, at: int, rotate: object) -> list[str]:
    """Have the `at`th look into the vault followed by a rotation, before what was found is used."""
    find, seen = VaultProvider.find, []

    def found(self: VaultProvider, name: str) -> Fields | None:
        fields = find(self, name)
        seen.append(name)
        if len(seen) == at:
            rotate()  # type: ignore[operator]
        return fields

    monkeypatch.setattr(VaultProvider, "find", found)
    return seen


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_password_changed_in_mid_run_costs_no_row(
    vault: Vault, store: Store, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    def rotate() -> None:
        store.change("changed")
        vault.change("warehouse", lambda before: {**(before or {}), "password": "changed"})

    seen = rotating(monkeypatch, at, rotate)
    report = pipeline(store).run()
    assert (report.rows_loaded, report.rows_rejected, report.retries) == (1000, 0, 0)
    assert len(seen) >= at + 1, "looked up again after the refusal"


def test_a_password_that_nobody_put_into_the_vault_is_tried_once(
    vault: Vault, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate() -> None:
        store.change("changed")

    seen = rotating(monkeypatch, 2, rotate)
    with pytest.raises(CredentialError, match="refuses the user"):
        pipeline(store).run()
    assert len(seen) == 3


def test_the_key_of_the_vault_changed_in_mid_run_is_of_no_matter(
    vault: Vault, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate() -> None:
        vault.rotate((vault.opener, Opener("a passphrase", passphrase=Secret("correct horse battery"))))

    rotating(monkeypatch, 2, rotate)
    assert pipeline(store).run().rows_loaded == 1000
