"""What the driver raises, as errors of rayetl: which may pass, which not, and what to type next."""

from __future__ import annotations

import re
from typing import Any

from rayetl.connectors.kafka.trust import untrusted
from rayetl.errors import CommitConflict, CredentialError, LoadError, Retryable, RunError


class Refused(CredentialError):
    """The cluster does not let this user in with this password."""


class Lost(Retryable):
    """The cluster did not answer; what became of what was asked is not known."""


_AUTHENTICATION = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED")
_AUTHORIZATION = (
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
)
_OVERTAKEN = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
_PASSING = (
    "_ALL_BROKERS_DOWN",
    "_TRANSPORT",
    "_TIMED_OUT",
    "_TIMED_OUT_QUEUE",
    "_MSG_TIMED_OUT",
    "_PURGE_QUEUE",
    "_PURGE_INFLIGHT",
    "_RESOLVE",
    "CONCURRENT_TRANSACTIONS",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "COORDINATOR_NOT_AVAILABLE",
    "INVALID_REPLICATION_FACTOR",
)
"""Faults that may be gone the next time. A cluster that is just starting has too few brokers for a topic."""

_STAMPS = re.compile(r"^\w+://\S+: | \(after \d+ms in state \w+\)$")
"""What the driver puts around its words: the address, which is told anyway, and how long it took."""

_HUNG_UP = re.compile(r"Disconnected.*in state SSL_HANDSHAKE")
"""A port without TLS hangs up on the first bytes; whether the driver says what that means is a matter of
which of the two ends noticed first."""


def fault(error: Any, endpoint: str, doing: str, who: str, authority: str | None) -> RunError:
    """Why something failed, from the driver's `KafkaError`. `doing` says in a few words what it was for,
    `who` whose user and password were used, `authority` is the file of those that are trusted."""
    name, whole = error.name(), str(error.str())
    if name == "_SSL":
        return untrusted(whole, endpoint, authority)
    said = _STAMPS.sub("", whole).rstrip(".")
    if _HUNG_UP.search(whole):
        said = "it closed the connection in the middle of the TLS handshake, as a port without TLS does"
    if name in _AUTHENTICATION:
        return Refused(
            f"{endpoint} refuses {who}: {said}",
            hint="are user, password and `sasl_mechanism` right, and does the cluster ask for them there?",
        )
    if name in _AUTHORIZATION:
        return LoadError(f"{doing} failed: {said}", hint=f"let {who} be granted it on {endpoint}")
    if name in _OVERTAKEN:
        return CommitConflict(
            f"another run of this pipeline has taken over while {doing}",
            hint="run again when it has ended: what it committed is recognised",
        )
    if name == "MSG_SIZE_TOO_LARGE":
        return LoadError(
            f"{doing} failed: a letter is larger than {endpoint} takes ({said})",
            hint="raise max.message.bytes of the topic; nothing was committed",
        )
    if error.retriable() or error.txn_requires_abort() or name in _PASSING:
        return Lost(
            f"{endpoint} cannot be reached or did not answer while {doing}: {said}",
            hint="it is tried again; does it run, is the address right, and are `tls` and `credential` "
            "as it wants them there?",
            endpoint=endpoint,
        )
    return LoadError(f"{doing} failed: {said} ({name})", hint="nothing was committed")
