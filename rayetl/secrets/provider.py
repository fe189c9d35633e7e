"""What a provider of credentials is, and what stands in the chain where one is not set up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

Fields = Mapping[str, str]
"""The fields of one credential in clear, by name."""


class Provider(ABC):
    """One place where credentials are kept."""

    title: str
    """What kind of place this is, in the words of an error or of `rayetl doctor`."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Where exactly the credential `name` is looked for; holds no value."""

    @abstractmethod
    def find(self, name: str) -> Fields | None:
        """The credential `name` as it is now, `None` if this place has none.

        Raises `CredentialError` where the place is damaged or refuses, `CredentialUnavailable` where it
        cannot be reached.
        """

    @abstractmethod
    def probe(self) -> str:
        """Reach the place and say in a few words what is there. Raises what `find` raises."""


@dataclass(frozen=True, slots=True)
class NotSetUp:
    """A provider that this process was not told about; `advice` says how it would be."""

    title: str
    advice: str
