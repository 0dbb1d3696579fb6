"""What became of events over HTTP: one transaction's whole story, and Metronome's search by transaction ids."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.aggregator.corrections_api import corrected_view
from penstock.aggregator.shapes import metric_view
from penstock.aggregator.transactions import Fate, Transactions
from penstock.kernel.ports.siblings import Customers, GatewayMemory, NotAccepted
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.stored import Dropped, LogPlace
from penstock.kernel.window import from_us
from penstock.web.route import Request, Route, Scope

SEARCH_IDS_MAX = 100


class SearchBody(msgspec.Struct):
    """POST /v1/events/search; the name is Metronome's."""

    transaction_ids: list[str] = msgspec.field(name="transactionIds")


class TransactionsApi:
    """`memory` is what the gateway of this process remembers of events that never reached the log."""

    def __init__(self, transactions: Transactions, customers: Customers, memory: GatewayMemory) -> None:
        self._transactions = transactions
        self._customers = customers
        self._memory = memory

    def routes(self) -> list[Route]:
        one = "/v1/transactions/{transaction_id}"
        return [
            Route("GET", one, Scope.READ, self.get, "aggregator", takes_slashes=True),
            Route("POST", "/v1/events/search", Scope.READ, self.search, "aggregator"),
        ]

    def get(self, request: Request) -> Any:
        transaction_id = request.path["transaction_id"]
        fates = self._transactions.find(request.tenant, [transaction_id])
        lately = self._memory.not_accepted(request.tenant, transaction_id)
        if fates:
            return {"data": self._view(request.tenant, fates[0], lately)}
        if lately is None:
            raise NotFound(f"no event {transaction_id} has been folded, and the gateway remembers none that it refused")
        return {"data": {**_UNKNOWN, "transaction_id": transaction_id, **_gateway_view(lately)}}

    def search(self, request: Request) -> Any:
        """The stored events. A copy that was dropped is not stored and has no row of its own."""
        ids = request.json(SearchBody).transaction_ids
        if len(ids) > SEARCH_IDS_MAX:
            raise BadRequest(f"transactionIds holds more than {SEARCH_IDS_MAX} ids", field="transactionIds")
        fates = self._transactions.find(request.tenant, ids)
        return [self._found(request.tenant, fate) for fate in fates if fate.row is not None]

    def _found(self, tenant: str, fate: Fate) -> dict[str, Any]:
        return {
            # The id of the event, not of the transaction: derived, so that it is the same in every answer.
            "id": str(uuid.UUID(bytes=fate.trace.identity)),
            "transaction_id": fate.transaction_id,
            **_event_view(fate),
            "is_duplicate": False,
            "matched_billable_metrics": [metric_view(definition) for definition in fate.counted_in],
            "matched_customer": self._customer(tenant, fate),
            "processed_at": None,
        }

    def _view(self, tenant: str, fate: Fate, lately: NotAccepted | None) -> dict[str, Any]:
        return {
            **_UNKNOWN,
            "transaction_id": fate.transaction_id,
            **_gateway_view(lately),
            "status": fate.outcome.name,
            "accepted": _place_view(fate.place) if fate.place else None,
            "event": _event_view(fate) if fate.row else None,
            "customer": self._customer(tenant, fate),
            "metrics": [{"id": d.metric.id, "name": d.metric.name} for d in fate.counted_in],
            "reasons": fate.reasons,
            "dropped": {d.outcome.name: _dropped_view(d) for d in fate.trace.dropped},
            "corrections": [corrected_view(each) for each in fate.corrections],
        }

    def _customer(self, tenant: str, fate: Fate) -> dict[str, Any] | None:
        customer_id = self._customers.customer_of(tenant, fate.row["customer"]) if fate.row else None
        if customer_id is None:
            return None
        return {"id": customer_id, "name": self._customers.name_of(tenant, customer_id)}


_UNKNOWN: dict[str, Any] = {
    "transaction_id": None,
    "status": None,
    "accepted": None,
    "event": None,
    "customer": None,
    "metrics": [],
    "reasons": [],
    "dropped": {},
    "corrections": [],
    "gateway": None,
}


def _gateway_view(lately: NotAccepted | None) -> dict[str, Any]:
    """The status stands only where nothing of the id is folded; a copy is a copy of what will be."""
    if lately is None:
        return {}
    was_accepted = lately.duplicates or lately.conflicts
    return {"status": "ACCEPTED" if was_accepted else "REJECTED", "gateway": lately}


def _place_view(place: LogPlace) -> dict[str, Any]:
    return {
        "partition": place.partition,
        "offset": place.offset,
        "index": place.index,
        "log_clock_day": from_us(place.day * US_PER_DAY).date(),
    }


def _dropped_view(dropped: Dropped) -> dict[str, Any]:
    newest = {**_place_view(dropped.newest), "timestamp": from_us(dropped.newest.time_us)}
    return {"events": dropped.events, "newest": newest}


def _event_view(fate: Fate) -> dict[str, Any]:
    assert fate.row is not None
    return {
        "customer_id": fate.row["customer"],
        "event_type": fate.row["event_type"],
        "timestamp": fate.row["time"],
        "properties": _legible(fate.row),
    }


def _legible(row: dict[str, Any]) -> msgspec.Raw:
    """The properties as they were sent; bytes that are not UTF-8, for which an event is quarantined, are replaced."""
    text: bytes = row["properties"]
    return msgspec.Raw(text.decode("utf-8", "replace").encode())
