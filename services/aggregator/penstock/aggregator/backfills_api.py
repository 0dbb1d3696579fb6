"""The routes of backfills, but for their events, which the gateway takes. Decode, call, encode; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from penstock.aggregator.backfills import Backfill, Backfills, Wanted
from penstock.aggregator.cut import read_as_one_cut
from penstock.kernel.cell import CONSERVATION, CellAnswer, CellQuestion
from penstock.kernel.event import FUTURE_HOURS_MAX, Outcome
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import Customers
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.window import BASE_WINDOW, EPOCH, Span
from penstock.web.instant import as_utc
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request, Route, Scope

PAGE_DEFAULT, PAGE_MAX = 20, 100
CUSTOMERS_MAX = 1_000
# A flush may hold events of every month that some backfill reaches; the store bounds how many that may be.
REACH = timedelta(days=5 * 366)
WINDOWS_END_US = (2**32 - 1) * 1_000_000
UNIQUENESS_KEY_CHARS_MAX = 128


class BackfillBody(msgspec.Struct):
    """POST /v1/backfills/create."""

    starting_on: datetime
    ending_before: datetime
    customer_ids: list[str] | None = None
    uniqueness_key: str | None = None

    def span(self, now: datetime) -> Span:
        """Raise `BadRequest` naming the field for what are no whole quarters of an hour, or too far away."""
        start, end = as_utc(self.starting_on, "starting_on"), as_utc(self.ending_before, "ending_before")
        for name, instant in (("starting_on", start), ("ending_before", end)):
            if (instant - EPOCH) % BASE_WINDOW:
                raise BadRequest(f"{name} must be a whole quarter of an hour", field=name)
        if start >= end:
            raise BadRequest("ending_before must be after starting_on", field="ending_before")
        if start < now - REACH:
            raise BadRequest(f"starting_on is more than {REACH.days} days ago", field="starting_on")
        if end > now + timedelta(hours=FUTURE_HOURS_MAX):
            raise BadRequest(f"ending_before is more than {FUTURE_HOURS_MAX} hours ahead", field="ending_before")
        return Span(start, end)


class IdBody(msgspec.Struct):
    id: str


class BackfillsApi:
    """Handlers over the services they call."""

    def __init__(self, backfills: Backfills, store: UsageStore, customers: Customers, clock: Clock) -> None:
        self._backfills, self._store, self._customers, self._clock = backfills, store, customers, clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/backfills/create", Scope.WRITE, self.create, "aggregator"),
            Route("GET", "/v1/backfills", Scope.READ, self.list, "aggregator"),
            Route("GET", "/v1/backfills/{backfill_id}", Scope.READ, self.get, "aggregator"),
            Route("POST", "/v1/backfills/commit", Scope.WRITE, self.commit, "aggregator"),
            Route("POST", "/v1/backfills/revert", Scope.WRITE, self.revert, "aggregator"),
        ]

    def create(self, request: Request) -> Any:
        """Idempotent by `uniqueness_key`: the answer to a repeat is the backfill that is there."""
        body = request.json(BackfillBody)
        key = body.uniqueness_key
        if key is not None and not 0 < len(key) <= UNIQUENESS_KEY_CHARS_MAX:
            raise BadRequest(f"uniqueness_key needs 1 to {UNIQUENESS_KEY_CHARS_MAX} characters", field="uniqueness_key")
        ids, keys = self._resolved(request.tenant, body.customer_ids)
        wanted = Wanted(body.span(self._clock.now()), ids, keys, key)
        return {"data": _view(self._backfills.create(request.tenant, wanted))}

    def get(self, request: Request) -> Any:
        """With what became of its events so far; those of records that are not folded yet are not among them."""
        found = self._backfills.find(request.tenant, request.path["backfill_id"])
        return {"data": _view(found) | {"events": self._counts(found)}}

    def list(self, request: Request) -> Any:
        limit = request.limit(PAGE_DEFAULT, PAGE_MAX)
        rows = self._backfills.list(request.tenant, decode_cursor(request.query.get("next_page")), limit + 1)
        return page([_view(each) for _, each in rows], limit, rows[limit - 1][0] if len(rows) >= limit else None)

    def commit(self, request: Request) -> Any:
        return {"data": _view(self._backfills.commit(request.tenant, request.json(IdBody).id))}

    def revert(self, request: Request) -> Any:
        return {"data": _view(self._backfills.revert(request.tenant, request.json(IdBody).id))}

    def _resolved(
        self, tenant: str, named: Sequence[str] | None
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """The customers by id, and every key of their events now; both None where none are named."""
        if named is None:
            return None, None
        if not 0 < len(named) <= CUSTOMERS_MAX:
            raise BadRequest(f"customer_ids needs 1 to {CUSTOMERS_MAX} customers", field="customer_ids")
        ids: set[str] = set()
        for each in named:
            customer_id = self._customers.customer_of(tenant, each)
            if customer_id is None:
                raise NotFound(f"no customer {each}", field="customer_ids")
            ids.add(customer_id)
        keys = {key for customer_id in ids for key in self._customers.keys_of(tenant, customer_id)}
        return tuple(sorted(ids)), tuple(sorted(keys))

    def _counts(self, backfill: Backfill) -> dict[str, int]:
        scope = backfill.layer.scope
        question = CellQuestion(
            scope, CONSERVATION, Aggregation.COUNT, ("",), 0, WINDOWS_END_US, (0,), group_at=(0,)
        )

        def read() -> tuple[CellAnswer, dict[int, int]]:
            answer = self._store.read_cells(question)
            return answer, answer.versions

        answer, _ = read_as_one_cut(self._store, read)
        found = {str(row.groups[0]): row.cell.events for row in answer.rows}
        return {outcome.name.lower(): found.get(outcome.name, 0) for outcome in Outcome}


def _view(backfill: Backfill) -> dict[str, Any]:
    layer = backfill.layer
    return {
        "id": layer.id,
        "state": backfill.state.value,
        "starting_on": layer.span.start,
        "ending_before": layer.span.end,
        "customer_ids": backfill.customer_ids,
        "uniqueness_key": backfill.uniqueness_key,
        "created_at": backfill.created_at,
        "takes_events_until": backfill.takes_events_until,
        "committed_at": backfill.committed_at,
        "reverted_at": backfill.reverted_at,
    }
