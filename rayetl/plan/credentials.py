"""The credentials that a run asks for when it opens its loads and its store of dead letters."""

from __future__ import annotations

from collections.abc import Iterator

from rayetl.connectors.dead_letters import DeadLetterStore
from rayetl.errors import (
    ConfigError,
    ConfigPath,
    CredentialError,
    CredentialUnavailable,
    Problem,
    RunError,
    at_step,
)
from rayetl.plan.graph import DEAD_LETTER
from rayetl.plan.nodes import Plan
from rayetl.secrets.naming import UsesCredential


def assert_credentials(plan: Plan, letters: DeadLetterStore) -> None:
    """Raise `ConfigError` with every credential that is not found; what is wrong with the only one as it is,
    for then it is not the config that is wrong."""
    unfound = [*_unfound(plan, letters)]
    if len(unfound) == 1:
        raise unfound[0][1]
    if unfound:
        raise ConfigError([Problem("plan", error.message, path, error.hint) for path, error in unfound])


def _unfound(plan: Plan, letters: DeadLetterStore) -> Iterator[tuple[ConfigPath, RunError]]:
    loads = [(load.id, load.path, load.load) for load in plan.loads]
    for name, path, model in (*loads, ("dead_letter", DEAD_LETTER, letters)):
        if not isinstance(model, UsesCredential):
            continue
        try:
            with at_step(name):
                model.assert_found()
        except (CredentialError, CredentialUnavailable) as error:
            yield path, error
