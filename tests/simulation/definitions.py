"""Metrics that come and go while events flow, through the product's own catalog and outbox."""

from __future__ import annotations

from datetime import datetime

from builders import Body, a_metric, a_metric_body, a_sum_body
from penstock.aggregator.metrics import Definition, Metrics
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.control import Control, encode_control
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, Vector
from simulation.faulty_log import FaultyLog
from simulation.traffic import TENANTS
from simulation.world import World, run_now

CALLS = {"in_values": ["call"]}
GROUPS = [["model", "region"]]
BODIES: list[Body] = [
    a_metric_body("calls", event_type_filter=CALLS, group_keys=[["model"]]),
    a_metric_body("all", event_type_filter=None),
    a_sum_body("units", event_type_filter=CALLS, group_keys=GROUPS),
    a_sum_body("units", event_type_filter={"not_in_values": ["call"]}),
    a_sum_body("units", event_type_filter=None, property_filters=[{"name": "model", "in_values": ["a", "b"]}]),
    a_metric_body("most", "MAX", event_type_filter=None, aggregation_key="units", group_keys=[["region"]]),
    a_metric_body("least", "MIN", event_type_filter=CALLS, aggregation_key="units"),
    a_metric_body("latest", "LATEST", event_type_filter=None, aggregation_key="units", group_keys=[["model"]]),
    a_metric_body("models", "UNIQUE", event_type_filter=None, aggregation_key="model", group_keys=[["region"]]),
    a_metric_body("unnamed", event_type_filter=CALLS, property_filters=[{"name": "model", "exists": False}]),
]
METRICS_MAX = 8


class Definitions:
    """Whoever defines and archives. `bodies` are all that were ever defined: tenant and body by metric id."""

    def __init__(self, world: World, log: FaultyLog) -> None:
        self._world, self._log = world, log
        self.metrics = Metrics(MemoryCatalog(), world, self._send)
        self.bodies: dict[str, tuple[str, Body]] = {}
        self._live: list[str] = []

    def define(self) -> None:
        if len(self.bodies) >= METRICS_MAX:
            return
        chance = self._world.chance
        tenant, body = chance.choice(TENANTS), chance.choice(BODIES)
        metric_id, control_id = (f"{kind}-{len(self.bodies)}" for kind in ("metric", "define"))

        def made(_metric_id: str, _control_id: str, now: datetime) -> Definition:
            return Definition(a_metric(metric_id, body, tenant), now, control_id)

        self.bodies[metric_id] = (tenant, body)
        self._live.append(metric_id)
        self._world.tell(f"define {metric_id} of {tenant}: {body}")
        try:
            self.metrics.create(tenant, made)
        except LogUnavailable:
            self._world.tell("it waits in the outbox")

    def archive(self) -> None:
        if len(self._live) > 1:
            at = self._world.chance.choice([-1, -1, 0])  # the newest, whose definition may still be on its way
            metric_id = self._live.pop(at)
            self._world.tell(f"archive {metric_id}")
            try:
                self.metrics.archive(self.bodies[metric_id][0], metric_id)
            except LogUnavailable:
                self._world.tell("it waits in the outbox")

    def send_pending(self) -> None:
        try:
            self.metrics.send_pending()
        except LogUnavailable:
            self._world.tell("the outbox waits on")

    def _send(self, control: Control) -> Vector:
        """One partition after the other, as the product's sender does; the first failure ends it."""
        stamped_at_us, payload = self._world.now_us, encode_control(control)
        partitions = range(self._log.identity.partitions)
        return tuple(run_now(self._log.append(p, Kind.CONTROL, stamped_at_us, payload)).offset for p in partitions)
