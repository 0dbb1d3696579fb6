"""One HTTP request on its way through the server: what its log line will say, and how its failure is told."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from penstock.app.logs import REQUEST_ID, tell
from penstock.kernel.problems import Problem
from penstock.web.route import Request, Route

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
UNKNOWN = "-"  # in place of a path that no route has: it is the caller's text

logger = logging.getLogger("penstock.access")


class Call(msgspec.Struct):
    """`path` is the template of the route, never the path itself: that may hold a customer's or an event's id."""

    method: str
    request_id: str
    started_s: float
    owner: str = "gateway"
    path: str = UNKNOWN
    tenant: str | None = None
    is_quiet: bool = False  # a good answer is told at DEBUG only: there may be thousands a second

    def answer(self, route: Route, request: Request) -> Any:
        """Call the handler, in this thread, whose log lines then carry the id of the request."""
        token = REQUEST_ID.set(self.request_id)
        try:
            return route.answer(request)
        finally:
            REQUEST_ID.reset(token)

    def problem_of(self, error: Exception) -> Problem:
        """What the caller is told. A bug is logged here, with its cause."""
        if isinstance(error, Problem):
            return error
        logger.error("a request failed", exc_info=error, extra={"fields": self._fields()})
        return Problem("an internal error; the server's log has its cause")

    def tell(self, status: int) -> None:
        """Log the request's line."""
        level = logging.DEBUG if self.is_quiet and status < 300 else logging.INFO
        if logger.isEnabledFor(level):
            milliseconds = round(1_000 * (time.perf_counter() - self.started_s), 3)
            tell(logger, level, "request", **self._fields(), status=status, duration_ms=milliseconds)

    def _fields(self) -> dict[str, object]:
        return {
            "request_id": self.request_id,
            "method": self.method if self.method in METHODS else UNKNOWN,
            "path": self.path,
            "tenant": self.tenant,
        }
