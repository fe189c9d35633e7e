"""What a provider of credentials is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from rayetl.errors import CredentialError

Fields = Mapping[str, str]
"""The fields of one credential in clear, by name."""


class Provider(ABC):
    """One place where credentials are kept."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Where exactly the credential `name` is looked for; holds no value."""

    @abstractmethod
    def find(self, name: str) -> Fields | None:
        """The credential `name` as it is now, `None` if this place has none.

        Raises `CredentialError` where the place is damaged or refuses, `CredentialUnavailable` where it
        cannot be reached.
        """


def texts_of(fields: object, place: str) -> Fields:
    """The fields of a credential as a service keeps them, numbers as text.

    Raises `CredentialError` for anything but an object of texts and numbers; no fault quotes a value.
    """
    form = "a credential is a JSON object of its fields: texts and numbers"
    if not isinstance(fields, Mapping) or not fields:
        raise CredentialError(f"what is in {place} is no credential", hint=form)
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise CredentialError(f"the field {name!r} of {place} is neither a text nor a number", hint=form)
    found = {str(name).lower(): str(value) for name, value in fields.items()}
    if len(found) < len(fields):
        raise CredentialError(
            f"two fields of {place} differ in letter case alone", hint="names of fields are in lower case"
        )
    return found
