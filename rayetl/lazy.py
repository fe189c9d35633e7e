"""Modules that are loaded when something of them is first used, so that a run pays only for its formats."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def lazily(name: str) -> Any:
    """A stand-in for the module `name`, which is imported at the first use of an attribute.

    Raises `ImportError` then, not before.
    """
    return _Lazy(name)
