"""The test clock over HTTP: read it, and move it forward (which closes what is due by then)."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.contracts.edge import Instant, utc
from penstock.contracts.service import Contracts
from penstock.kernel.problems import Forbidden
from penstock.web.route import OPERATOR_TENANT, Request, Route, Scope


class AdvanceBody(msgspec.Struct, frozen=True):
    to: Instant


class ClockApi:
    def __init__(self, service: Contracts) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/test-clock", Scope.READ, self.read, "contracts"),
            Route("POST", "/v1/test-clock/advance", Scope.ADMIN, self.advance, "contracts"),
        ]

    def read(self, request: Request) -> dict[str, Any]:
        """The time that contracts see, and whether it can be moved."""
        return {"data": {"now": self._service.clock.now(), "enabled": self._service.has_test_clock}}

    def advance(self, request: Request) -> dict[str, Any]:
        """One clock for all tenants. `finalized` counts what became final at once; what is still folded follows."""
        if request.tenant != OPERATOR_TENANT:
            raise Forbidden(f"only an admin of the tenant {OPERATOR_TENANT} moves the time of all tenants")
        finalized = self._service.advance(utc(request.json(AdvanceBody).to))
        return {"data": {"now": self._service.clock.now(), "finalized": finalized}}
