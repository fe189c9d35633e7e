"""The chain of providers: its order, what is said when nothing is found, and rotation."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rayetl.errors import CredentialError
from rayetl.secrets import Credential, Credentials, environment
from rayetl.secrets.environment import EnvironmentProvider
from rayetl.secrets.provider import Fields, Provider


class Kept(Provider):
    """A place of a test."""

    def __init__(self, label: str, held: dict[str, Fields], fault: Exception | None = None) -> None:
        self.label, self.held, self.fault, self.asked = label, held, fault, 0

    def place(self, name: str) -> str:
        return f"{self.label}/{name}"

    def find(self, name: str) -> Fields | None:
        self.asked += 1
        if self.fault:
            raise self.fault
        return self.held.get(name)


class RefusedError(Exception):
    pass


def test_the_first_place_that_has_it_gives_it() -> None:
    first, second = Kept("first", {}), Kept("second", {"a": {"password": "x"}})
    third = Kept("third", {"a": {"password": "y"}})
    found = Credentials([first, second, third]).find("a")
    assert (found.place, found.reveal("password")) == ("second/a", "x")
    assert third.asked == 0


def test_a_missing_one_lists_every_place_without_values() -> None:
    chain = Credentials([Kept("first", {"b": {"password": "c4n4ry"}}), Kept("last", {})])
    with pytest.raises(CredentialError) as fault:
        chain.find("a")
    assert fault.value.message == "no credential 'a' was found"
    assert fault.value.hint == "put it where it was looked for: first/a; last/a"
    assert "c4n4ry" not in str(fault.value)


def test_a_failing_place_ends_the_search() -> None:
    last = Kept("last", {"a": {"password": "outdated"}})
    with pytest.raises(CredentialError, match="damaged"):
        Credentials([Kept("first", {}, CredentialError("damaged")), last]).find("a")
    assert last.asked == 0


def attempt(place: Kept, good: str, rotate_to: str | None) -> tuple[str, list[str]]:
    tried: list[str] = []

    def connect(credential: Credential) -> str:
        tried.append(credential.required("password"))
        if rotate_to:
            place.held["a"] = {"password": rotate_to}
        if tried[-1] != good:
            raise RefusedError
        return "connected"

    return Credentials([place]).connect("a", connect, lambda error: isinstance(error, RefusedError)), tried


def test_a_rotated_password_is_found_after_one_refusal() -> None:
    assert attempt(Kept("p", {"a": {"password": "old"}}), "new", "new") == ("connected", ["old", "new"])


def test_an_unchanged_password_is_not_tried_twice() -> None:
    place = Kept("p", {"a": {"password": "old"}})
    with pytest.raises(RefusedError):
        attempt(place, "new", None)
    assert place.asked == 2


def test_another_fault_is_no_reason_to_look_again() -> None:
    place = Kept("p", {"a": {"password": "x"}})

    def broken(_: Credential) -> None:
        raise OSError

    with pytest.raises(OSError):
        Credentials([place]).connect("a", broken, lambda error: isinstance(error, RefusedError))
    assert place.asked == 1


def test_the_environment_holds_fields_by_name() -> None:
    provider = EnvironmentProvider(
        {
            "RAYETL_CREDENTIAL_MY_STORE__USER": "etl",
            "RAYETL_CREDENTIAL_MY_STORE__SSL_KEY": "k",
            "RAYETL_CREDENTIAL_MY_STORE__OTHER__PASSWORD": "of another credential",
            "RAYETL_CREDENTIAL_MY__PASSWORD": "of another one too",
        }
    )
    assert provider.find("my-store") == provider.find("my_store") == {"user": "etl", "ssl_key": "k"}
    assert provider.find("store") is None


def test_an_empty_variable_is_a_fault() -> None:
    with pytest.raises(CredentialError, match="RAYETL_CREDENTIAL_A__PASSWORD is set but empty"):
        EnvironmentProvider({"RAYETL_CREDENTIAL_A__PASSWORD": ""}).find("a")


def test_a_change_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_A__PASSWORD", "one")
    assert Credentials.here().find("a").reveal("password") == "one"
    monkeypatch.setenv("RAYETL_CREDENTIAL_A__PASSWORD", "two")
    assert Credentials.here().find("a").reveal("password") == "two"


def test_withdrawn_variables_stay_known_and_reach_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_withdrawn", {})
    monkeypatch.setenv("RAYETL_CREDENTIAL_A__PASSWORD", "c4n4ry")
    command = [sys.executable, "-c", "import os; print(open('/proc/self/environ').read(), dict(os.environ))"]
    assert "c4n4ry" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    environment.withdraw()
    assert "c4n4ry" not in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "RAYETL_CREDENTIAL_A__PASSWORD" not in os.environ
    assert Credentials.here().find("a").reveal("password") == "c4n4ry"
