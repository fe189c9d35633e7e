"""A secret shows itself nowhere; a credential hands its fields out one by one."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import os
import pickle
import pprint
import traceback

import pytest
from pydantic import ValidationError

from rayetl.errors import CredentialError
from rayetl.observability.codec import to_json
from rayetl.observability.logs import configure, get_logger
from rayetl.secrets import Credential, Secret
from rayetl.secrets.naming import InlineSecret, UsesCredential

CANARY = "c4n4ry/pa ss+wörd\"'%"


class Connector(UsesCredential):
    host: str = "localhost"
    password: InlineSecret | None = None


def credential() -> Credential:
    return Credential.of("warehouse", "a test", {"USER": "etl", "password": CANARY})


SHOWN = {
    "repr": lambda secret: repr(secret),
    "str": lambda secret: str(secret),
    "format": lambda secret: f"{secret} {secret!r} {secret:>40} {secret!s:s}",
    "copy": lambda secret: repr([copy.copy(secret), copy.deepcopy([secret])]),
    "json default": lambda secret: json.dumps({"a": secret}, default=str),
    "dataclass": lambda secret: repr(Credential("a", "b", {"password": secret})),
    "asdict": lambda secret: repr(dataclasses.asdict(Credential("a", "b", {"password": secret}))),
    "pprint": lambda secret: pprint.pformat({"a": [secret]}),
    "model": lambda secret: repr(Connector(password=secret)) + str(Connector(password=secret)),
    "model_dump": lambda secret: str(Connector(password=secret).model_dump()),
    "model_dump_json": lambda secret: Connector(password=secret).model_dump_json(),
    "hash": lambda secret: str(hash(secret) == hash(Secret("other"))),
    "dir": lambda secret: str(
        [getattr(secret, name, None) for name in dir(secret) if "Secret__" not in name]
    ),
}


@pytest.mark.parametrize("how", SHOWN)
def test_nothing_shows_a_secret(how: str) -> None:
    shown = SHOWN[how](Secret(CANARY))
    assert CANARY not in shown
    assert "c4n4ry" not in shown


def test_reveal_is_the_only_way() -> None:
    assert Secret(CANARY).reveal() == CANARY
    assert Secret("a") == Secret("a") != Secret("b")
    assert not Secret("")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("held", [Secret(CANARY), [Secret(CANARY)], credential(), Connector(password=CANARY)])
def test_a_secret_does_not_travel(held: object, protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled") as fault:
        pickle.dumps(held, protocol)
    assert "c4n4ry" not in str(fault.value)


def test_json_refuses_a_secret() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))
    with pytest.raises(TypeError) as fault:
        to_json(Secret(CANARY))
    assert "c4n4ry" not in str(fault.value)


def test_a_traceback_with_locals_shows_no_secret() -> None:
    held, group = Secret(CANARY), credential()
    try:
        raise ValueError(f"cannot connect with {held} of {group}")
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(***)" in shown
    assert "c4n4ry" not in shown


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_log_shows_no_secret(form: str) -> None:
    stream = io.StringIO()
    configure("debug", form, stream)  # type: ignore[arg-type]
    try:
        get_logger("rayetl.tests").info("opened", secret=Secret(CANARY), credential=credential())
        logging.getLogger("rayetl.tests").warning("held %s", Secret(CANARY))
    finally:
        configure()
    assert "opened" in stream.getvalue()
    assert "c4n4ry" not in stream.getvalue()


def test_a_credential_gives_its_fields() -> None:
    held = credential()
    assert held.fields == {"user": "etl", "password": Secret(CANARY)}
    assert held.reveal("password") == CANARY
    assert held.reveal("port") is None
    assert held.required("username", "user") == "etl"
    with pytest.raises(CredentialError, match="no field 'token'") as fault:
        held.required("token")
    assert "password, user" in str(fault.value)
    assert "c4n4ry" not in str(fault.value)


def test_scrub_masks_every_written_form() -> None:
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    forms = [
        *(CANARY, quote(CANARY), quote(CANARY, safe=""), quote_plus(CANARY), repr(CANARY)[1:-1]),
        *(json.dumps(CANARY), json.dumps(CANARY, ensure_ascii=False), CANARY.replace("'", "''")),
        *(b64encode(CANARY.encode()).decode(), urlsafe_b64encode(CANARY.encode()).decode().rstrip("=")),
    ]
    scrubbed = credential().scrub("|".join(forms) + "|user etl")
    assert [part.strip('"') for part in scrubbed.split("|")] == ["***"] * len(forms) + ["user etl"]


def test_a_secret_of_bytes_that_are_no_text_is_masked_like_any_other() -> None:
    strange = os.fsdecode(b"c4n4ry\xe4")
    found = Credential.of("warehouse", "here", {"password": strange})
    assert found.scrub(f"password {strange} is wrong") == "password *** is wrong"
    assert Secret(strange) == Secret(strange) != Secret("c4n4ry")


@pytest.mark.parametrize("spelling", ["credential", "credentialId", "credential_id"])
def test_every_spelling_names_a_credential(spelling: str) -> None:
    assert Connector.model_validate({spelling: "warehouse"}).credential == "warehouse"


@pytest.mark.parametrize(
    "given",
    [
        {"password": 4711},
        {"password": ["c4n4ry"]},
        {"password": ""},
        {"password": "c4n4ry", "credential": "warehouse"},
    ],
)
def test_a_fault_of_form_quotes_no_secret(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as fault:
        Connector.model_validate(given)
    said = " ".join(each["msg"] for each in fault.value.errors())
    assert "4711" not in said
    assert "c4n4ry" not in said
