"""Dead letters whose records are encrypted: readable with the key alone, old keys stay good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl import Pipeline
from rayetl.connectors.dead_letter_files import DeadLetterFiles
from rayetl.connectors.sealed_parquet import sealed_with
from rayetl.errors import CredentialError, RayetlError
from rayetl.secrets import Secret, keyring
from rayetl.secrets.vault import Opener, Vault

PASSPHRASE = "correct horse battery"
RULE = {"name": "small", "check": "id < 40", "on_failure": "quarantine"}


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYETL_VAULT_FILE", str(tmp_path / "vault.json"))
    monkeypatch.setenv("RAYETL_VAULT_PASSPHRASE", PASSPHRASE)
    made = Vault.create(tmp_path / "vault.json", Opener("it", passphrase=Secret(PASSPHRASE)))
    new_key(made)
    Path("in.csv").write_text("".join(f"{i},c4n4ry-{i}\n" for i in range(50)))
    return made


def new_key(vault: Vault) -> None:
    vault.change("reject_key", lambda before: keyring.with_new_key(before or {})[0])


def pipeline(encrypt: str | None = "reject_key", **changes: Any) -> Pipeline:
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"},
            "transform": [{"id": "checked", "type": "validate", "rules": [RULE]}],
            "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
            "resilience": {"dead_letter": {"path": "rejects", "encrypt": encrypt}},
            **changes,
        }
    )


def stored() -> list[Path]:
    return sorted(Path("rejects").rglob("part-*.parquet"))


def test_records_are_encrypted_and_come_back(vault: Vault) -> None:
    report = pipeline().run()
    assert report.rows_rejected == 10
    (path,) = stored()
    assert sealed_with(path) == "reject_key/k1"
    for each in Path().rglob("*"):
        if each.is_file() and each.name != "in.csv" and each.parts[0] != "out":
            assert b"c4n4ry" not in each.read_bytes(), each
    with pytest.raises(pl.exceptions.ComputeError, match="encrypted"):
        pl.read_parquet(path)
    letters = pipeline().dead_letters.read().sort("row").collect()
    assert letters["record"].to_list() == [f"{i},c4n4ry-{i}".encode() for i in range(40, 50)]
    found = pipeline().dead_letters.show(letters["id"][3])
    assert (found["row"], found["record"]) == (43, b"43,c4n4ry-43")


def test_without_the_key_everything_but_the_record_is_readable(vault: Vault) -> None:
    pipeline().run()
    vault.change("reject_key", lambda _: None)
    letters = pipeline().dead_letters.read()
    assert letters.drop("record").collect().height == 10
    assert pipeline().dead_letters.count()["letters"].to_list() == [10]
    with pytest.raises(Exception, match="no credential 'reject_key' was found"):
        letters.collect()


def test_a_new_key_writes_and_the_old_one_reads(vault: Vault) -> None:
    pipeline().run()
    new_key(vault)
    pipeline().run(force=True)
    pipeline(encrypt=None).run(force=True)
    assert [sealed_with(path) for path in stored()] == ["reject_key/k1", "reject_key/k2", None]
    assert sorted(pipeline().dead_letters.read().collect()["row"].to_list()) == list(range(40, 50))
    vault.change(
        "reject_key", lambda before: {name: each for name, each in (before or {}).items() if name != "k1"}
    )
    for store in (pipeline().dead_letters, DeadLetterFiles(path="rejects").of("p")):
        with pytest.raises(Exception, match="does not hold the key 'k1', which is needed"):
            store.read().collect()


def test_another_key_of_the_same_name_is_told(vault: Vault) -> None:
    pipeline().run()
    vault.change("reject_key", lambda _: keyring.with_new_key({})[0])
    with pytest.raises(
        Exception, match="the key k1 of the credential 'reject_key' is another one than this needs"
    ):
        pipeline().dead_letters.read().collect()


def test_every_flipped_byte_of_a_record_is_refused(vault: Vault) -> None:
    pipeline().run()
    (path,) = stored()
    good, refused = path.read_bytes(), 0
    before = pipeline().dead_letters.read().collect()
    for place in range(4, len(good), 41):
        changed = bytearray(good)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        try:
            found = pipeline().dead_letters.read().collect()["record"].to_list()
            assert set(found) <= set(before["record"].to_list()), place
        except (OSError, ValueError, NotImplementedError, pl.exceptions.PolarsError, RayetlError):
            refused += 1
    assert refused > 10


def test_a_replay_decrypts_and_encrypts_again(vault: Vault) -> None:
    pipeline().run()
    wider = [{"id": "checked", "type": "validate", "rules": [{**RULE, "check": "id < 45"}]}]
    report = pipeline(transform=wider).replay()
    assert (report.rows_loaded, report.rows_rejected) == (5, 5)
    assert pl.read_parquet("out/*.parquet").height == 45
    assert [sealed_with(path) for path in stored() if "rejects" in path.parts[-2]] == ["reject_key/k1"] * 2
    assert pipeline().dead_letters.read(pending=True).collect()["record"].len() == 5


def test_a_missing_key_stops_a_run_before_a_row_is_read(vault: Vault) -> None:
    with pytest.raises(CredentialError, match="no credential 'nix' was found") as told:
        pipeline(encrypt="nix").run()
    assert "`rayetl vault new-key nix` makes one" in str(told.value.hint)
    assert not Path("out").exists() or not list(Path("out").glob("part-*"))
    vault.put({"other": {"user": "u", "password": "p"}})
    with pytest.raises(CredentialError, match="has no field 'current'"):
        pipeline(encrypt="other").run()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"current": "k2", "k1": "A" * 43 + "="}, "does not hold the key 'k2'"),
        ({"current": "k1", "k1": "c4n4ry"}, "is no key of 32 bytes"),
        ({"current": "k1", "k1": "AAAA"}, "is no key of 32 bytes"),
    ],
)
def test_what_is_no_key_is_refused(vault: Vault, fields: dict[str, str], said: str) -> None:
    vault.put({"bad": fields})
    with pytest.raises(CredentialError, match=said) as fault:
        keyring.Keyring.find("bad")
    assert "c4n4ry" not in str(fault.value)


def test_a_new_key_is_not_put_among_other_fields() -> None:
    with pytest.raises(CredentialError, match="holds something else than keys: password"):
        keyring.with_new_key({"password": "x"})
    fields, kid = keyring.with_new_key(keyring.with_new_key({})[0])
    assert (kid, fields["current"], sorted(fields)) == ("k2", "k2", ["current", "k1", "k2"])


def test_the_command_lists_and_shows(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    from rayetl.cli import main

    config: Callable[[], Any] = lambda: Path("p.json").write_text(json.dumps(CONFIG))  # noqa: E731
    config()
    assert main(["run", "p.json", "-q"]) == 0
    assert main(["dlq", "show", "p.json"]) == 0
    assert "record (csv): 41,c4n4ry-41" in capsys.readouterr().out
    assert main(["vault", "delete", "reject_key"]) == 0
    assert main(["dlq", "list", "p.json"]) == 0
    assert "10 dead letters" in capsys.readouterr().out
    assert main(["dlq", "show", "p.json"]) == 1
    assert "no credential 'reject_key' was found" in capsys.readouterr().err


CONFIG = {
    "name": "p",
    "extract": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"},
    "transform": [{"id": "checked", "type": "validate", "rules": [RULE]}],
    "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
    "resilience": {"dead_letter": {"path": "rejects", "encrypt": "reject_key"}},
}
