"""Credentials in the environment: `RAYETL_CREDENTIAL_<NAME>__<FIELD>`, both in upper case, `-` as `_`.

The command line takes secret variables out of the environment of its process before it starts anything, so
that no child inherits them; they stay known to this process alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

from rayetl.errors import CredentialError
from rayetl.records import dataclass
from rayetl.secrets.provider import Fields, Provider
from rayetl.secrets.secret import Secret

PREFIX = "RAYETL_CREDENTIAL_"

OTHERS = frozenset(
    ("RAYETL_VAULT_PASSPHRASE", "RAYETL_VAULT_OTHER_PASSPHRASE", "VAULT_TOKEN", "VAULT_SECRET_ID")
)
"""Variables that open other places where credentials are kept; as secret as the credentials."""

_ABOUT = (PREFIX, "RAYETL_VAULT_", "RAYETL_HASHICORP_", "RAYETL_AWS_", "VAULT_")

_withdrawn: dict[str, Secret] = {}


def withdraw(environment: MutableMapping[str, str] = os.environ) -> None:
    """Take the secret variables out of `environment`; `variables` still gives them."""
    for name in [name for name in environment if name.startswith(PREFIX) or name in OTHERS]:
        _withdrawn[name] = Secret(environment.pop(name))


def remember(found: Mapping[str, str]) -> None:
    """Know variables of another process as if they had been taken out of this one's environment."""
    _withdrawn.update({name: Secret(text) for name, text in about_credentials(found).items()})


def about_credentials(values: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold credentials, or say where some are and open that place."""
    return {name: value for name, value in values.items() if name.startswith(_ABOUT)}


def variables() -> dict[str, str]:
    """The environment with what was taken out of it; a variable that is set again comes first."""
    return {**{name: secret.reveal() for name, secret in _withdrawn.items()}, **os.environ}


def credentials(values: Mapping[str, str]) -> dict[str, Fields]:
    """Every credential in an environment, by its name in lower case."""
    found: dict[str, dict[str, str]] = {}
    for variable, value in values.items():
        name, _, field = variable.removeprefix(PREFIX).rpartition("__")
        if variable.startswith(PREFIX) and name and field and value:
            found.setdefault(name.lower(), {})[field.lower()] = value
    return dict(found)


@dataclass(frozen=True, slots=True, repr=False)
class EnvironmentProvider(Provider):
    """Looks in a copy of the environment."""

    values: Mapping[str, str]

    def place(self, name: str) -> str:
        return f"the environment ({_prefix(name)}<FIELD>)"

    def find(self, name: str) -> Fields | None:
        prefix = _prefix(name)
        found = {
            variable[len(prefix) :].lower(): value
            for variable, value in self.values.items()
            if variable.startswith(prefix) and "__" not in variable[len(prefix) :]
        }
        empty = [field for field, value in found.items() if not value]
        if empty:
            raise CredentialError(
                f"the variable {prefix}{empty[0].upper()} is set but empty",
                hint="give it a value, or unset it",
            )
        return found or None


def _prefix(name: str) -> str:
    return f"{PREFIX}{name.upper().replace('-', '_')}__"
