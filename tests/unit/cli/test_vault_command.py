"""`rayetl vault`: what is typed, what is shown, and that no secret is an argument or an echo."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from rayetl.secrets import environment

CANARY = "c4n4ry pässword"
PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "vault.json"
    monkeypatch.setenv("RAYETL_VAULT_FILE", str(path))
    # Calling the command takes the variable out of the environment of this process.
    monkeypatch.setattr(environment, "_withdrawn", {})
    monkeypatch.setenv("RAYETL_VAULT_PASSPHRASE", PASSPHRASE)
    return path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    def pipe(text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return pipe


def test_a_vault_from_the_first_day_to_the_last(call, typed, vault: Path) -> None:
    assert (
        call("vault", "init").out
        == f"made the vault {vault}, opened by the passphrase in RAYETL_VAULT_PASSPHRASE\n"
    )
    typed(CANARY + "\n")
    assert (
        call("vault", "set", "warehouse", "user=etl", "PASSWORD").out == "set user, password of warehouse\n"
    )
    shown = call("vault", "get", "warehouse").out
    assert "etl" in shown
    assert "***" in shown
    assert "c4n4ry" not in shown
    assert call("vault", "get", "warehouse", "password").out == "***\n"
    assert call("vault", "get", "warehouse", "password", "--reveal").out == CANARY + "\n"
    assert json.loads(call("vault", "get", "warehouse", "--json").out) == {"password": "***", "user": "etl"}
    assert [row["name"] for row in json.loads(call("vault", "list", "--json").out)] == ["warehouse"]
    assert call("vault", "rotate-key").code == 0
    assert call("vault", "delete", "warehouse", "user").out == "deleted user of warehouse\n"
    assert json.loads(call("vault", "export", "--reveal").out) == {"warehouse": {"password": CANARY}}
    assert call("vault", "delete", "warehouse").out == "deleted warehouse\n"
    assert "0 credentials" in call("vault", "list").out


def test_a_secret_in_an_argument_is_refused_and_not_repeated(call, vault: Path) -> None:
    call("vault", "init")
    done = call("vault", "set", "warehouse", "password=c4n4ry")
    assert done.code == 2
    assert "everybody on a machine can read command lines" in done.err
    assert "c4n4ry" not in done.err
    assert "0 credentials" in call("vault", "list").out


def test_what_is_no_secret_may_be_an_argument_and_is_shown(call, vault: Path) -> None:
    call("vault", "init")
    call("vault", "set", "warehouse", "sslmode=require", "role_arn=arn:aws:iam::1:role/r")
    found = json.loads(call("vault", "get", "warehouse", "--json").out)
    assert found == {"sslmode": "require", "role_arn": "arn:aws:iam::1:role/r"}


def test_several_secrets_come_one_a_line(call, typed) -> None:
    call("vault", "init")
    typed("id\nsecret\n")
    call("vault", "set", "lake", "access_key_id", "secret_access_key")
    typed("-----BEGIN\nKEY-----\n")
    call("vault", "set", "lake", "private_key")
    found = json.loads(call("vault", "get", "lake", "--reveal", "--json").out)
    assert found == {
        "access_key_id": "id",
        "secret_access_key": "secret",
        "private_key": "-----BEGIN\nKEY-----",
    }
    typed("c4n4ry\n")
    done = call("vault", "set", "lake", "access_key_id", "secret_access_key")
    assert (done.code, "stdin has 1 line for 2 fields" in done.err) == (1, True)
    assert "c4n4ry" not in done.err
    typed("id\r\nsecret\r\n")
    call("vault", "set", "lake", "access_key_id", "secret_access_key")
    assert json.loads(call("vault", "get", "lake", "--reveal", "--json").out)["secret_access_key"] == "secret"
    typed(b"c4n4ry\xff\n")
    done = call("vault", "set", "lake", "access_key_id")
    assert (done.code, "no text in UTF-8" in done.err, "c4n4ry" in done.err) == (1, True, False)
    typed("")
    assert "no value was given for token" in call("vault", "set", "lake", "token").err


def test_copies_go_through_a_vault_of_their_own(
    call, typed, vault: Path, tmp_path: Path, monkeypatch
) -> None:
    call("vault", "init")
    typed(json.dumps({"a": {"user": "u", "port": 5432}, "b": {"token": CANARY}}))
    assert call("vault", "import", "-").out == "took a, b\n"
    assert call("vault", "get", "a", "port").out == "5432\n"
    monkeypatch.setenv("RAYETL_VAULT_OTHER_PASSPHRASE", "another passphrase")
    copy = tmp_path / "copy.json"
    assert call("vault", "export", str(copy), "--name", "b").code == 0
    assert "c4n4ry" not in copy.read_text()
    refused = call("vault", "import", str(copy))
    assert (refused.code, "has b already" in refused.err) == (1, True)
    call("vault", "delete", "b")
    assert call("vault", "import", str(copy)).out == "took b\n"
    assert call("vault", "get", "b", "token", "--reveal").out == CANARY + "\n"
    monkeypatch.setenv("RAYETL_CREDENTIAL_MY_STORE__PASSWORD", "of the environment")
    assert call("vault", "import", "--environment").out == "took my_store\n"


@pytest.mark.parametrize("point", ["vault.synced", "vault.renamed"])
def test_a_copy_that_is_cut_off_is_whole_or_not_there(call, typed, tmp_path: Path, point: str) -> None:
    call("vault", "init")
    typed(json.dumps({"a": {"token": CANARY}}))
    call("vault", "import", "-")
    copy = tmp_path / "copy.json"
    own = {"RAYETL_VAULT_PASSPHRASE": PASSPHRASE, "RAYETL_VAULT_OTHER_PASSPHRASE": PASSPHRASE}
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", "vault", "export", str(copy)],
        env={**os.environ, **own, "RAYETL_FAILPOINT": f"{point}:kill9"},
        check=False,
    )
    assert done.returncode == -9, "the point was not passed"
    assert copy.exists() == (point == "vault.renamed")
    if copy.exists():
        assert "1 credential in" in call("vault", "list", "--file", str(copy)).out


@pytest.mark.parametrize(
    "given",
    [
        b"[1]",
        b"no json",
        b'{"a": 1}',
        b'{"a": {}}',
        b'{"a": {"Password": "c4n4ry", "password": "c4n4ry"}}',
        b'{"a": {"b": ["c4n4ry"]}}',
        b'{"a b": {"password": "c4n4ry"}}',
    ],
)
def test_what_is_no_credential_is_not_imported(call, typed, given: bytes) -> None:
    call("vault", "init")
    typed(given.decode())
    done = call("vault", "import", "-")
    assert done.code in (1, 2)
    assert "c4n4ry" not in done.err
    assert "0 credentials" in call("vault", "list").out


def test_another_lock(call, vault: Path, tmp_path: Path, monkeypatch) -> None:
    call("vault", "init")
    key = tmp_path / "new.key"
    assert call("vault", "rotate-key", "--new-key-file", str(key)).code == 0
    assert "is opened by a key file" in call("vault", "export", "--reveal").err
    assert call("vault", "export", "--reveal", "--key-file", str(key)).out == "{}\n"
    monkeypatch.setenv("RAYETL_VAULT_KEY_FILE", str(key))
    assert call("vault", "export", "--reveal").out == "{}\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("list",), "there is no vault at"),
        (("get", "a"), "there is no vault at"),
        (("set", "a", "password"), "`rayetl vault init` makes one"),
        (("export",), "name a TARGET"),
        (("import",), "name a SOURCE"),
        (("set", "a b", "password"), "a name has letters"),
        (("rotate-key", "--new-passphrase", "--new-key-file", "k"), "takes one of"),
    ],
)
def test_a_wrong_call_says_what_to_do(call, command: tuple[str, ...], said: str) -> None:
    done = call("vault", *command)
    assert done.code in (1, 2)
    assert said in done.err


def test_init_keeps_what_is_there(call, vault: Path) -> None:
    call("vault", "init")
    before = vault.read_bytes()
    done = call("vault", "init")
    assert (done.code, "there is a vault" in done.err) == (1, True)
    assert vault.read_bytes() == before
    assert call("vault", "init", "--force").code == 0


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, *argv: str, env: dict[str, str]) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "rayetl", *argv], env)
        self.seen = ""

    def answer(self, prompt: str, text: str | bytes) -> None:
        while prompt not in self.seen:
            self._read()
        self.seen = self.seen.partition(prompt)[2]
        os.write(self.descriptor, (text if isinstance(text, bytes) else text.encode()) + b"\n")

    def _read(self) -> bool:
        assert select.select([self.descriptor], [], [], 30)[0], f"no prompt came after: {self.seen}"
        try:
            data = os.read(self.descriptor, 4096).decode()
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def end(self) -> tuple[int, str]:
        while self._read():
            pass
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.seen


def test_secrets_are_typed_unseen(vault: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "RAYETL_VAULT_PASSPHRASE"}
    making = Terminal("vault", "init", env=env)
    making.answer("new passphrase: ", PASSPHRASE)
    making.answer("the same again: ", PASSPHRASE)
    code, seen = making.end()
    assert (code, PASSPHRASE in seen, "made the vault" in seen) == (0, False, True)
    setting = Terminal("vault", "set", "warehouse", "user=etl", "password", env=env)
    setting.answer("passphrase of the vault: ", PASSPHRASE)
    setting.answer("password: ", "c4n4ry")
    code, seen = setting.end()
    assert (code, "c4n4ry" in seen, "set user, password" in seen) == (0, False, True)
    getting = Terminal("vault", "get", "warehouse", env=env)
    getting.answer("passphrase of the vault: ", b"c4n4ry \xff")
    code, seen = getting.end()
    assert (code, "what was typed is no text in UTF-8" in seen, "c4n4ry" in seen) == (1, True, False)
    making = Terminal("vault", "init", "--force", env=env)
    making.answer("new passphrase: ", PASSPHRASE)
    making.answer("the same again: ", "something else")
    code, seen = making.end()
    assert (code, "not the same" in seen) == (1, True)
    assert "warehouse" in vault.read_text()
