"""The chain of providers that a credential is looked up in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rayetl.errors import CredentialError
from rayetl.records import dataclass
from rayetl.secrets import aws, environment, hashicorp
from rayetl.secrets.environment import EnvironmentProvider
from rayetl.secrets.provider import Provider
from rayetl.secrets.secret import Credential
from rayetl.secrets.vault import VaultProvider

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Providers in the order they are asked; the first that has a credential gives it.

    Nothing is kept: every call looks again, so that a changed password is found without a restart. A
    provider that fails ends the search, because the next one might hold an outdated value. `absent` are the
    places that this machine does not use, in words.
    """

    providers: Sequence[Provider]
    absent: Sequence[str] = ()

    @classmethod
    def here(cls) -> Credentials:
        """The chain of this process, as its environment describes it: a fact of the machine, not of a
        config. Make it in the process that opens the connection, never before.

        The encrypted file, the environment, HashiCorp Vault, AWS Secrets Manager, in this order. Raises
        `CredentialError` where the environment describes a place wrongly.
        """
        known = environment.variables()
        own = (VaultProvider.of(known), EnvironmentProvider(known))
        remote = (hashicorp.provider_of(known), aws.provider_of(known))
        absent = [how for how, found in zip((hashicorp.ABSENT, aws.ABSENT), remote, strict=True) if not found]
        return cls((*own, *(found for found in remote if found)), absent)

    def find(self, name: str) -> Credential:
        """The credential `name` as it is now.

        Raises `CredentialError` that lists every place looked at when none has it, or that says what is
        wrong with a place; `CredentialUnavailable` (to be tried again) when one cannot be reached.
        """
        found = self.look(name)
        if found is None:
            raise CredentialError(f"no credential {name!r} was found", hint=self._looked(name))
        return found

    def look(self, name: str) -> Credential | None:
        """The credential `name` as it is now, `None` if no place has it. Raises what `find` raises else."""
        for provider in self.providers:
            found = provider.find(name)
            if found is not None:
                return Credential.of(name, provider.place(name), found)
        return None

    def refreshed(self, stale: Credential) -> Credential | None:
        """The same credential looked up again after a store refused it; `None` if it has not changed, so
        that another attempt would be refused too. Raises what `find` raises."""
        fresh = self.find(stale.name)
        return None if dict(fresh.fields) == dict(stale.fields) else fresh

    def connect(
        self, name: str, connect: Callable[[Credential], T], is_refusal: Callable[[Exception], bool]
    ) -> T:
        """What `connect` makes of the credential; after a refusal once more, if the credential has changed
        since: passwords are rotated while runs are under way.

        `is_refusal` tells a wrong password from all other errors. Raises what `connect` and `find` raise.
        """
        credential = self.find(name)
        try:
            return connect(credential)
        except Exception as error:
            fresh = self.refreshed(credential) if is_refusal(error) else None
            if fresh is None:
                raise
        return connect(fresh)

    def _looked(self, name: str) -> str:
        places = [provider.place(name) for provider in self.providers]
        looked = f"put it where it was looked for: {'; '.join(places)}"
        return f"{looked}. Not used on this machine: {'; '.join(self.absent)}" if self.absent else looked
