"""What rayetl's actors are called on a cluster: as the dashboard lists them, and as they are found again."""

from __future__ import annotations

NAMESPACE = "rayetl"

RUN = "rayetl-run-"


def run_name(run: str) -> str:
    """The supervisor of a run."""
    return f"{RUN}{run}"


def breaker_name(endpoint: str) -> str:
    """The circuit breaker of a service."""
    return f"rayetl-breaker-{endpoint}"
