"""A port that another process serves is refused by name: Granian would share it, and each get half the calls."""

from __future__ import annotations

import socket


def demand_free(host: str, port: int) -> None:
    """Raise `OSError` where somebody listens on `port` of `host`, or where there is no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        raise OSError(f"cannot listen on {host}:{port} for HTTP: {exc.strerror}") from exc
