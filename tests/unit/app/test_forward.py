"""The gateway forwards what it does not own: as it came, with the answer as it is, and 503 where nobody is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from penstock.app.forward import Forwarded, Forwarder, NoAnswer
from penstock.app.health import NotReady
from penstock.app.route_table import every_route
from penstock.rpc.reply import ServiceUnavailable

SEEN: list[tuple[str, str, str | None, bytes]] = []


class Owner(BaseHTTPRequestHandler):
    """Answers 409 to a POST, nothing at all to a DELETE."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        SEEN.append((self.command, self.path, self.headers["authorization"], body))
        self.send_response(409)
        for name, value in (("Content-Type", "application/problem+json"), ("X-Should-Retry", "false")):
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written."""


@contextmanager
def an_owner() -> Iterator[Forwarder]:
    with HTTPServer(("127.0.0.1", 0), Owner) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield Forwarder({"rater": f"http://127.0.0.1:{server.server_port}"}, 5_000)
        finally:
            server.shutdown()
            serving.join()


def test_a_request_is_forwarded_as_it_came_and_answered_as_its_owner_does() -> None:
    request = Forwarded("POST", "/v1/a%20b?x=1&x=2", {"authorization": "Bearer key"}, b"body")
    with an_owner() as forwarder:
        answer = forwarder.forward("rater", request)

    assert SEEN == [("POST", "/v1/a%20b?x=1&x=2", "Bearer key", b"body")]
    assert (answer.status, answer.body, answer.content_type) == (409, b"{}", "application/problem+json")
    assert ("x-should-retry", "false") in answer.headers
    assert not {"content-length", "content-type", "connection"} & {name for name, _ in answer.headers}


def test_an_owner_that_is_away_is_503_and_one_that_falls_silent_is_504() -> None:
    with an_owner() as forwarder:
        forwarder.look("rater")
        with pytest.raises(NoAnswer, match="whether it was done is not known"):
            forwarder.forward("rater", Forwarded("DELETE", "/v1/a", {}, b""))

    with pytest.raises(ServiceUnavailable, match="the rater is not there") as caught:
        forwarder.forward("rater", Forwarded("POST", "/v1/a", {}, b""))
    assert caught.value.retry_after_s == 2
    with pytest.raises(NotReady, match="the rater is not there"):
        forwarder.look("rater")


def test_every_route_has_an_owner_that_is_a_service() -> None:
    owners = {route.owner for route in every_route()}

    assert owners == {"gateway", "aggregator", "rater", "contracts"}
    assert len({(route.method, route.path) for route in every_route()}) == len(every_route())
