"""The encrypted file: what it holds, what it refuses, and that each fault has its own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayetl.errors import CredentialError
from rayetl.secrets import Credentials, Secret
from rayetl.secrets.environment import EnvironmentProvider
from rayetl.secrets.vault import Opener, Vault, VaultProvider, locks, make_key_file
from rayetl.secrets.vault import document as documents
from rayetl.secrets.vault.vault import read

GOOD, BAD = "correct horse battery", "wrong horse battery"
CANARY = "c4n4ry/pa ss+wörd\"'%"


def by(passphrase: str) -> Opener:
    return Opener("the passphrase of the test", passphrase=Secret(passphrase))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "vault.json"


@pytest.fixture
def vault(path: Path) -> Vault:
    made = Vault.create(path, by(GOOD))
    made.put({"a": {"user": "etl", "password": CANARY}, "b": {"token": "of b"}})
    return made


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the file as somebody would who knows its form: with a checksum that holds."""
    whole = json.loads(path.read_bytes())
    change(whole)
    whole.pop("checksum", None)
    whole["checksum"] = documents._checksum(whole)
    path.write_text(json.dumps(whole))


def test_what_was_put_in_comes_out(vault: Vault, path: Path) -> None:
    assert Vault(path, by(GOOD)).find("a") == {"user": "etl", "password": CANARY}
    assert vault.find("c") is None
    assert vault.entries() == {"a": {"user": "etl", "password": CANARY}, "b": {"token": "of b"}}
    vault.change("a", lambda before: {**(before or {}), "password": "new"})
    vault.change("b", lambda _: None)
    assert vault.entries() == {"a": {"user": "etl", "password": "new"}}
    assert [(name, entry.version) for name, entry in read(path).entries.items()] == [("a", 2)]


def test_nothing_of_it_is_readable(vault: Vault, path: Path) -> None:
    for shown in (path.read_text(), repr(vault), repr(read(path))):
        assert not {"c4n4ry", "etl", "of b", GOOD} & {word for word in (*shown.split(), "") if word}
        assert "c4n4ry" not in shown
        assert GOOD not in shown


def test_the_file_is_private(vault: Vault, path: Path) -> None:
    assert [oct(each.stat().st_mode & 0o777) for each in (path, path.parent)] == ["0o600", "0o700"]
    assert not list(path.parent.glob("*new*"))


def test_a_wrong_passphrase_is_told_from_damage(vault: Vault, path: Path) -> None:
    with pytest.raises(CredentialError, match="does not open the vault") as fault:
        Vault(path, by(BAD)).find("a")
    assert "damaged" not in str(fault.value)
    assert BAD not in str(fault.value)
    assert "whole" in str(fault.value.hint)


def test_every_flipped_byte_is_damage(vault: Vault, path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        if damaged.split() != whole.split() and (found := outcome(path)) != "entries":
            assert "is damaged" in found or "does not know" in found, (place, found)
    path.write_bytes(whole)
    assert outcome(path) == "entries"


def test_every_truncation_is_damage(vault: Vault, path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        assert "is damaged" in outcome(path), length


def outcome(path: Path) -> str:
    try:
        entries = Vault(path, by(GOOD)).entries()
    except CredentialError as error:
        return error.message
    assert entries == {"a": {"user": "etl", "password": CANARY}, "b": {"token": "of b"}}
    return "entries"


def swap(whole: dict[str, Any]) -> None:
    entries = whole["entries"]
    entries["a"], entries["b"] = entries["b"], entries["a"]


def swap_sealed(whole: dict[str, Any]) -> None:
    a, b = whole["entries"]["a"], whole["entries"]["b"]
    a["sealed"], b["sealed"] = b["sealed"], a["sealed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap, "the entry 'a' is not what was stored under this name"),
        (swap_sealed, "the entry 'a' is not what was stored under this name"),
        (lambda whole: whole["entries"]["a"].update(version=7), "the entry 'a' is not"),
        (lambda whole: whole["entries"]["a"].update(changed="2000-01-01T00:00:00Z"), "put back as they once"),
        (lambda whole: whole["entries"].pop("b"), "entries were taken out"),
        (lambda whole: whole["locks"][0].update(memory_kib=8, passes=1, lanes=1), "protected less"),
        (lambda whole: whole["locks"][0].update(passes=1000), "protected less, or much more"),
        (lambda whole: whole["locks"][0].update(salt="AAAA"), "protected less"),
        (lambda whole: whole["locks"][0].update(passes=4), "does not open"),
        (lambda whole: whole.update(format="rayetl-vault-9"), "does not know"),
        (lambda whole: whole.update(format="else"), "no file of"),
        (lambda whole: whole.pop("locks"), "missing"),
        (lambda whole: whole.update(entries=[1]), "another form"),
        (lambda whole: whole["entries"]["a"].update(more=1), "another form"),
    ],
)
def test_a_changed_file_is_refused_although_its_checksum_holds(
    vault: Vault, path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    rewritten(path, change)
    with pytest.raises(CredentialError, match=said) as fault:
        vault.entries()
    assert "c4n4ry" not in str(fault.value)


def test_an_entry_of_another_vault_or_time_is_refused(vault: Vault, path: Path, tmp_path: Path) -> None:
    old = json.loads(path.read_bytes())["entries"]["a"]
    vault.change("a", lambda _: {"password": "new"})
    rewritten(path, lambda whole: whole["entries"].update(a=old))
    with pytest.raises(CredentialError, match="put back as they once were"):
        vault.entries()
    other = Vault.create(tmp_path / "other.json", by(GOOD))
    other.put({"a": {"password": "of another vault"}})
    foreign = json.loads(other.path.read_bytes())["entries"]["a"]
    rewritten(path, lambda whole: whole["entries"].update(a=foreign))
    with pytest.raises(CredentialError, match="the entry 'a' is not what was stored"):
        vault.entries()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_an_open_file_is_refused(vault: Vault, path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(CredentialError, match=rf"open to other users \(mode 0{mode:o}\)") as fault:
        vault.find("a")
    assert "chmod 600" in str(fault.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_file_of_another_user_is_refused(vault: Vault, path: Path) -> None:
    os.chown(path, 4711, -1)
    with pytest.raises(CredentialError, match="belongs to another user"):
        vault.find("a")


def test_links_and_directories_are_refused(vault: Vault, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with pytest.raises(CredentialError, match="symbolic link"):
        read(link)
    with pytest.raises(CredentialError, match="no ordinary file"):
        read(tmp_path)


def test_key_files_open_it_and_rotation_locks_it_anew(vault: Vault, path: Path, tmp_path: Path) -> None:
    make_key_file(tmp_path / "one.key")
    make_key_file(tmp_path / "two.key")
    one, two = (Opener(f"key {name}", key_file=tmp_path / f"{name}.key") for name in ("one", "two"))
    before = read(path)
    vault.rotate((one, vault.opener))
    for opener in (one, by(GOOD)):
        assert Vault(path, opener).find("b") == {"token": "of b"}
    after = read(path)
    assert (before.key != after.key, len(after.locks)) == (True, 2)
    assert before.entries["a"].sealed != after.entries["a"].sealed
    assert before.entries["a"].version == after.entries["a"].version
    with pytest.raises(CredentialError, match="key two does not open"):
        Vault(path, two).find("a")
    Vault(path, one).rotate((two,))
    assert Vault(path, two).find("b") == {"token": "of b"}
    with pytest.raises(CredentialError, match="is opened by a key file"):
        vault.find("a")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("short", 0o600, "holds no key"),
        ("é", 0o600, "holds no key"),
        ("A" * 43 + "=", 0o644, "open to other users"),
    ],
)
def test_a_bad_key_file_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    key = tmp_path / "key"
    key.write_text(text)
    key.chmod(mode)
    with pytest.raises(CredentialError, match=said) as fault:
        Vault.create(tmp_path / "v.json", Opener("it", key_file=key))
    assert "A" * 43 not in str(fault.value)


def test_a_short_passphrase_and_a_second_vault_are_refused(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="at least 12"):
        Vault.create(tmp_path / "v.json", by("short"))
    with pytest.raises(CredentialError, match="there is a vault"):
        Vault.create(vault.path, by(GOOD))
    assert vault.find("b")


def test_costs_are_those_of_the_rfc(vault: Vault, path: Path) -> None:
    (lock,) = read(path).locks
    assert (lock.kind, lock.memory_kib, lock.passes, lock.lanes) == ("argon2id", 65536, 3, 4)
    assert locks._LEAST == (19456, 2, 1)


def environment(path: Path, **more: str) -> dict[str, str]:
    return {"RAYETL_VAULT_FILE": str(path), **more}


def test_the_provider_finds_by_name(vault: Vault, path: Path) -> None:
    provider = VaultProvider.of(environment(path, RAYETL_VAULT_PASSPHRASE=GOOD))
    assert provider.find("a") == {"user": "etl", "password": CANARY}
    assert provider.find("c") is None
    assert GOOD not in repr(provider)
    vault.change("a", lambda _: {"password": "rotated"})
    assert provider.find("a") == {"password": "rotated"}


def test_a_locked_vault_is_asked_for_what_it_has_only(vault: Vault, path: Path) -> None:
    provider = VaultProvider.of(environment(path))
    assert provider.find("c") is None
    with pytest.raises(CredentialError, match=r"'a' is in the vault .*, which is locked") as fault:
        provider.find("a")
    assert fault.value.hint == "set RAYETL_VAULT_KEY_FILE or RAYETL_VAULT_PASSPHRASE"


def test_a_named_vault_must_be_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialError, match="which is not there"):
        VaultProvider.of(environment(path)).find("a")
    assert VaultProvider.of({"XDG_CONFIG_HOME": str(path)}).find("a") is None


def test_the_vault_comes_before_the_environment(vault: Vault, path: Path) -> None:
    known = environment(
        path, RAYETL_VAULT_PASSPHRASE=GOOD, RAYETL_CREDENTIAL_A__PASSWORD="of the environment"
    )
    chain = Credentials((VaultProvider.of(known), EnvironmentProvider(known)))
    assert chain.find("a").reveal("password") == CANARY
    vault.change("a", lambda _: None)
    assert chain.find("a").reveal("password") == "of the environment"


def test_a_missing_credential_names_all_four_places(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path))
    with pytest.raises(CredentialError) as fault:
        Credentials.here().find("warehouse")
    assert fault.value.hint == (
        f"put it where it was looked for: the encrypted file {path}/rayetl/vault.json (rayetl vault set warehouse "
        "...); the environment (RAYETL_CREDENTIAL_WAREHOUSE__<FIELD>). Not used on this machine: HashiCorp Vault "
        "(VAULT_ADDR is not set); AWS Secrets Manager (RAYETL_AWS_SECRETS is not set)"
    )


EDIT = """
import sys
from pathlib import Path
from rayetl.secrets import Secret
from rayetl.secrets.vault import Opener, Vault
vault = Vault(Path(sys.argv[1]), Opener("it", passphrase=Secret("correct horse battery")))
for number in range(int(sys.argv[3])):
    vault.change("shared", lambda before: {**(before or {}), f"{sys.argv[2]}_{number}": "x"})
    vault.put({f"{sys.argv[2]}-{number}": {"password": "x"}})
"""


def test_edits_of_several_processes_lose_nothing(vault: Vault, path: Path) -> None:
    writers, edits = 4, 8
    running = [
        subprocess.Popen([sys.executable, "-c", EDIT, str(path), f"w{writer}", str(edits)])
        for writer in range(writers)
    ]
    assert [each.wait(60) for each in running] == [0] * writers
    entries = vault.entries()
    wanted = [(writer, edit) for writer in range(writers) for edit in range(edits)]
    assert set(entries) == {"a", "b", "shared", *(f"w{writer}-{edit}" for writer, edit in wanted)}
    assert set(entries["shared"]) == {f"w{writer}_{edit}" for writer, edit in wanted}
    assert read(path).entries["shared"].version == writers * edits


POINTS = ("vault.locked", "vault.written", "vault.synced", "vault.renamed", "vault.durable")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_leaves_the_old_file_or_the_new_one(vault: Vault, path: Path, point: str) -> None:
    before = vault.entries()
    done = subprocess.run(
        [sys.executable, "-c", EDIT, str(path), "w", "1"],
        env={**os.environ, "RAYETL_FAILPOINT": f"{point}:kill9"},
        check=False,
    )
    assert done.returncode == -9, "the point was not passed"
    after = vault.entries()
    renamed = point in ("vault.renamed", "vault.durable")
    assert after == (before | {"shared": {"w_0": "x"}} if renamed else before)
    left = list(path.parent.glob(".vault.json.new-*"))
    assert bool(left) == (point in ("vault.written", "vault.synced"))
    assert not any(b"c4n4ry" in each.read_bytes() for each in left)
    vault.put({"c": {"password": "later"}})
    assert vault.entries() == after | {"c": {"password": "later"}}
    assert not list(path.parent.glob(".vault.json.new-*"))


def test_what_a_crash_left_is_cleared_beside_a_file_of_any_name(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "a[1].json", by(GOOD))
    (tmp_path / ".a[1].json.new-dead").touch()
    vault.put({"a": {"password": "x"}})
    assert not list(tmp_path.glob("*.new-*"))


def test_a_passphrase_is_the_same_in_whatever_form_and_bytes_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    Vault.create(path, by(unicodedata.normalize("NFC", "eine lange Nähe"))).put({"a": {"password": "x"}})
    assert Vault(path, by(unicodedata.normalize("NFD", "eine lange Nähe"))).find("a") == {"password": "x"}
    with pytest.raises(CredentialError, match="does not open"):
        Vault(path, by(os.fsdecode(b"eine lange N\xe4he"))).find("a")


def test_a_full_disk_leaves_the_old_file(vault: Vault, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayetl import failpoints

    before = path.read_bytes()
    monkeypatch.setenv("RAYETL_FAILPOINT", "vault.written:enospc")
    failpoints.rearm()
    try:
        with pytest.raises(CredentialError, match="cannot be written: No space left"):
            vault.put({"c": {"password": "x"}})
    finally:
        monkeypatch.undo()
        failpoints.rearm()
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*new*"))
