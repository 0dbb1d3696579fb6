"""The server's control API, called plainly: JSON in, JSON out, numbers with a point left as text."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 120


class Unreachable(Exception):
    """The server does not answer."""


class Unexpected(Exception):
    """The server answers something that it should not."""


class Api:
    """Calls over one connection that is kept alive; use as a context manager."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self._base = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object | None = None) -> Any:
        """Raise `Unreachable`, or `Unexpected` with the answer's text where the status is not 200."""
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, self._base + path, text, self._headers)
            answer = self._connection.getresponse()
            found = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            raise Unreachable(f"{method} {path}: {exc}") from exc
        if answer.status != 200:
            raise Unexpected(f"{method} {path}: {answer.status} {found.decode(errors='replace')}")
        return json.loads(found, parse_float=str)

    def pages(self, method: str, path: str, body: object | None = None) -> Iterator[Any]:
        """The rows of every page."""
        cursor = ""
        while True:
            page = self.call(method, path + cursor, body)
            yield from page["data"]
            if page.get("next_page") is None:
                return
            cursor = f"?next_page={page['next_page']}"
