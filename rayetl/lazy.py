"""Modules that are loaded when something of them is first used, so that a run pays only for its formats."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        _remove(self)
        return getattr(import_module(self.__name__), name)


def lazily(name: str) -> Any:
    """A stand-in for the module `name`, which is imported at the first use of an attribute.

    Raises `ImportError` then, not before.
    """
    return _Lazy(name)


@contextmanager
def put_off(name: str) -> Iterator[None]:
    """Whoever imports the module `name` of a package within gets a stand-in: for libraries that import at
    once what they need in a few cases only."""
    if name in sys.modules:
        yield
        return
    package, _, module = name.rpartition(".")
    stand_in = sys.modules[name] = _Lazy(name)
    setattr(import_module(package), module, stand_in)
    try:
        yield
    finally:
        _remove(stand_in)


def _remove(stand_in: ModuleType) -> None:
    """The next import is of the module itself."""
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]
