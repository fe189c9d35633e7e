"""What a config may call a server, and which ones may be spoken to in the clear: those on this machine."""

from __future__ import annotations

import ipaddress


def assert_no_login(address: str) -> None:
    """Raise `ValueError` where a user or password stands before a server or bucket, as in a URL; they are not
    repeated. The name of a socket that is no file begins with an `@`."""
    if "@" in address[1:]:
        raise ValueError("what stands before the `@` belongs into `credential`")


def is_here(host: str) -> bool:
    """Whether a server is on this machine, so that nobody can stand between: a loopback address, or the
    directory of a socket."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
