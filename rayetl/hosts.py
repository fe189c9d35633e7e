"""Which servers may be spoken to in the clear: those on this machine itself."""

from __future__ import annotations

import ipaddress


def is_here(host: str) -> bool:
    """Whether a server is on this machine, so that nobody can stand between: a loopback address, or the
    directory of a socket."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
