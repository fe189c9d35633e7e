"""What a provider of credentials is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

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
