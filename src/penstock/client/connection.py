"""One kept-alive HTTP connection to the server. What goes wrong with it leaves as `NotAcknowledged`, nothing else."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from penstock.client.answer import NotAcknowledged, Reply

ANSWER_BYTES_MAX = 64 * 1024 * 1024
PORTS = {"http": 80, "https": 443}


class Server(NamedTuple):
    """Where the server is and how to speak to it."""

    scheme: str
    host: str
    port: int
    path: str
    api_key: str
    timeout_ms: int

    @classmethod
    def at(cls, base_url: str, api_key: str, timeout_ms: int) -> Server:
        """Raise `ValueError` for an address or a key that cannot be one."""
        parts = urlsplit(base_url)
        if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"the server's address must be like https://penstock.example:8600, not {base_url!r}")
        if not api_key or not api_key.isascii() or not api_key.isprintable():
            raise ValueError("the API key is empty or holds characters that no key has")
        port = parts.port or PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), api_key, timeout_ms)


class Connection:
    """Connects at the first request, and again after an error. For one thread, but for `abort`."""

    def __init__(self, server: Server) -> None:
        timeout_s = server.timeout_ms / 1_000
        if server.scheme == "https":
            context = ssl.create_default_context()
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                server.host, server.port, timeout=timeout_s, context=context
            )
        else:
            self._http = http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)
        self._path = server.path
        self._headers = {"Authorization": f"Bearer {server.api_key}", "User-Agent": "penstock-client"}

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Raise `NotAcknowledged` where there is no whole answer; the server may have done what it was asked."""
        headers = self._headers if body is None else self._headers | {"Content-Type": "application/json"}
        try:
            if self._http.sock is None:
                self._http.connect()
            # A server may answer and hang up before it has read a body that it does not want.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._http.request(method, self._path + path, body, headers)
            response = self._http.getresponse()
            text = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise NotAcknowledged(f"no answer from the server: {type(exc).__name__} {exc}".rstrip()) from exc
        if len(text) > ANSWER_BYTES_MAX:
            self.close()
            raise NotAcknowledged(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, text)

    def abort(self) -> None:
        """Make a request under way fail now. From any thread."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it may be closed by now
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()
