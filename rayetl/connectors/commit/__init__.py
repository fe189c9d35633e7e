"""Exactly-once commits into local directories; the protocol is told in docs/commit-protocol.md."""

from rayetl.connectors.commit.session import CountRows, DirectorySession, SaveMode

__all__ = ["CountRows", "DirectorySession", "SaveMode"]
