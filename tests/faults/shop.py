"""The suite's customers and metrics on a running Penstock, and whether it tells what the reference model tells."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import reference
from builders import Body, rfc3339
from faults.events import BODIES, BY, CUSTOMERS, DAY, END, Figures, differences
from penstock.kernel.window import to_us
from server import PenstockServer, eventually

SETTLED_TIMEOUT_S = 300
IDS_LOOKED_UP = 10


class Shop:
    """Asks by HTTP alone, as a customer would. `partitions` is the log's.

    `customers` are ids by the key of their events, `metrics` ids by their names in `BODIES`.
    """

    def __init__(self, server: PenstockServer, partitions: int) -> None:
        self._server, self._partitions = server, partitions
        api = server.client.v1
        self.customers = {key: api.customers.create(name=key, ingest_aliases=[key]).data.id for key in CUSTOMERS}
        self.metrics = {kind: api.billable_metrics.create(**body).data.id for kind, body in BODIES.items()}

    def assert_exact(self, acknowledged: Sequence[Body], chance: random.Random) -> None:
        """Every acknowledged id counts once and nothing else does, by usage, by outcome, by id and by the auditor."""
        self.settle()
        accepted = reference.first_of_each_id(acknowledged)
        found = {kind: self._figures(kind) for kind in BODIES}

        assert differences(found, accepted) == []
        outcomes = self._server.outcomes()
        others = {name: outcomes[name] for name in ("conflict", "unmatched", "late", "quarantined")}
        assert (outcomes["counted"], others) == (len(accepted), dict.fromkeys(others, 0))
        for event in chance.sample(accepted, min(IDS_LOOKED_UP, len(accepted))):
            self._assert_counted(event["transaction_id"])
        audited = self._server.raw.post("/v1/audit", {"starting_on": DAY, "ending_before": _soon()}).json["data"]
        assert audited["cells"] > 0
        assert (audited["differing_cells"], audited["differences"]) == (0, [])

    def settle(self) -> None:
        """Return when all that is in the log by now is in usage: every partition's clock has passed this instant."""
        now_us = to_us(datetime.now(UTC))

        def is_folded() -> bool:
            answer = self._server.raw.get("/v1/pipeline")
            if answer.status != 200:
                return False
            clocks = [each["clock_us"] for each in answer.json["data"]]
            return len(clocks) == self._partitions and min(clocks) >= now_us

        eventually(is_folded, True, SETTLED_TIMEOUT_S)

    def _figures(self, kind: str) -> Figures:
        return {
            (key, start, groups): value
            for key, customer_id in self.customers.items()
            for (start, groups), value in self._server.usage(
                self.metrics[kind], customer_id, DAY, END, "QUARTER", BY
            ).items()
        }

    def _assert_counted(self, transaction_id: str) -> None:
        answer = self._server.raw.get(f"/v1/transactions/{transaction_id}")
        assert answer.status == 200, answer
        told = answer.json["data"]
        assert told["status"] == "COUNTED"
        assert {metric["id"] for metric in told["metrics"]} >= set(self.metrics.values())


def _soon() -> str:
    return rfc3339(datetime.now(UTC) + timedelta(hours=1))
