"""In development one address is enough: the gateway forwards what it does not own to the HTTP address of its owner.

Behind an Ingress that knows the route table nothing comes here. A request is forwarded as it came; its owner looks at
the API key again.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import msgspec

from penstock.app.health import NotReady
from penstock.kernel.problems import Problem
from penstock.rpc.reply import ServiceUnavailable
from penstock.web.route import Response

PASSED_ON = ("authorization", "content-type", "accept", "content-encoding")
# Of the connection, not of the answer; the server writes its own request id.
_NOT_PASSED_BACK = ("connection", "keep-alive", "transfer-encoding", "content-length", "content-type", "x-request-id")
_AWAY = (OSError, http.client.HTTPException)
RETRY_AFTER_S = 2
LOOK_TIMEOUT_S = 2


class NoAnswer(Problem):
    """A request was sent on and its answer did not come: whether it was done is not known."""

    status, type, title = 504, "no-answer", "No answer"


class Forwarded(msgspec.Struct, frozen=True):
    """A request on its way to its owner. `target` is path and query as they came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Forwarder:
    """`urls` says where each owner answers. Called in worker threads; a connection per request."""

    def __init__(self, urls: Mapping[str, str], timeout_ms: int) -> None:
        self._addresses = {owner: urlsplit(url) for owner, url in urls.items()}
        self._timeout_s = timeout_ms / 1000

    def owns(self, owner: str) -> bool:
        """Whether requests to this owner go elsewhere."""
        return owner in self._addresses

    def forward(self, owner: str, request: Forwarded) -> Response:
        """The owner's answer. Raise `ServiceUnavailable` where it was not reached, `NoAnswer` where it fell silent."""
        with closing(self._connection(owner, self._timeout_s)) as connection:
            try:
                connection.connect()
            except OSError as exc:
                raise ServiceUnavailable(f"the {owner} is not there", retry_after_s=RETRY_AFTER_S) from exc
            try:
                connection.request(request.method, request.target, request.body, dict(request.headers))
                answer = connection.getresponse()
                body = answer.read()
            except _AWAY as exc:
                raise NoAnswer(f"the {owner} did not answer: whether it was done is not known") from exc
        headers = tuple((k.lower(), v) for k, v in answer.getheaders() if k.lower() not in _NOT_PASSED_BACK)
        return Response(body, answer.status, headers, answer.getheader("content-type", "application/json"))

    def look(self, owner: str) -> None:
        """Raise `NotReady` where the owner does not answer."""
        with closing(self._connection(owner, LOOK_TIMEOUT_S)) as connection:
            try:
                connection.request("GET", "/healthz")
                status = connection.getresponse().status
            except _AWAY as exc:
                raise NotReady(f"the {owner} is not there") from exc
        if status != 200:
            raise NotReady(f"the {owner} answers {status}")

    def _connection(self, owner: str, timeout_s: float) -> http.client.HTTPConnection:
        address = self._addresses[owner]
        host = address.hostname or "127.0.0.1"
        if address.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(host, address.port, timeout=timeout_s)
