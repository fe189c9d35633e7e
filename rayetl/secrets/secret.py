"""Values that reveal nothing unless asked to, and the named group of them that opens a connection."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, final
from urllib.parse import quote, quote_plus

from rayetl.errors import CredentialError
from rayetl.records import dataclass

MASK = "***"

PUBLIC_FIELDS = frozenset(
    (
        *("user", "username", "host", "hostname", "port", "database", "dbname", "schema"),
        *("sslmode", "sslrootcert", "account", "region", "role_arn", "sts_endpoint", "oauth2_server_uri"),
    )
)
"""Fields of a credential that are plain text; every other field is a secret."""


@final
class Secret:
    """A text that shows itself to nobody: only `reveal` gives it, called where it is handed to a driver.

    Printing, formatting, logging, JSON and copies give the mask or the same opaque object; pickling raises
    `TypeError`, because a secret must not travel to another process.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.__text), _bytes(other.__text))

    def __hash__(self) -> int:
        # The same for all: a hash of the text could be tried against guesses.
        return hash(Secret)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a secret cannot be pickled: name it with `credential:`, so that the process that opens the "
            "connection looks it up itself"
        )

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(2)


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens a connection: the fields stored under one name, and the `place` they were found in.

    Field names are lower case. The fields of `PUBLIC_FIELDS` are text, all others `Secret`.
    """

    name: str
    place: str
    fields: Mapping[str, Secret | str]

    @classmethod
    def of(cls, name: str, place: str, values: Mapping[str, str]) -> Credential:
        """A credential from values in clear."""
        fields = {
            field.lower(): value if field.lower() in PUBLIC_FIELDS else Secret(value)
            for field, value in values.items()
        }
        return cls(name, place, fields)

    def reveal(self, field: str) -> str | None:
        """A field in clear, `None` if there is none: for the call that hands it to a driver."""
        value = self.fields.get(field)
        return value.reveal() if isinstance(value, Secret) else value

    def required(self, *names: str) -> str:
        """The first of these fields that there is, in clear; several names are spellings of one field.

        Raises `CredentialError` which lists the names of the fields that there are.
        """
        for name in names:
            if (found := self.reveal(name)) is not None:
                return found
        there = ", ".join(sorted(self.fields)) or "none"
        raise CredentialError(
            f"the credential {self.name!r} from {self.place} has no field {names[0]!r}",
            hint=f"its fields are: {there}",
        )

    def scrub(self, text: str) -> str:
        """`text` with this credential's secrets masked, also in their URL, base64 and JSON forms: for the
        words of a driver's error, which may quote what it was given."""
        forms = {
            form for value in self.fields.values() if isinstance(value, Secret) for form in _forms(value)
        }
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text


def _bytes(text: str) -> bytes:
    """Of any text, also one that the environment holds in another encoding."""
    return text.encode("utf-8", "surrogatepass")


def _forms(secret: Secret) -> Iterator[str]:
    """How a secret may be written down."""
    text = secret.reveal()
    if not text:
        return
    yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    raw = _bytes(text)
    yield from (quote(raw), quote(raw, safe=""), quote_plus(raw), text.replace("'", "''"))
    for encoded in (b64encode(raw), urlsafe_b64encode(raw)):
        yield encoded.decode()
        yield encoded.decode().rstrip("=")
