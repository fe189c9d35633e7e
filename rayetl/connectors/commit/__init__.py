"""Exactly-once commits into local directories; the protocol is told in docs/commit-protocol.md."""

from rayetl.connectors.commit.epochs import CountRows, SaveMode
from rayetl.connectors.commit.session import DirectorySession

__all__ = ["CountRows", "DirectorySession", "SaveMode"]
