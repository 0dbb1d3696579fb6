"""Metrics that come, change and go while events flow, through the product's own shapes, catalog and outbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from builders import Body, a_metric_body, a_sum_body
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.shapes import MetricBody, MetricUpdateBody
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.control import Control, encode_control
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, Vector
from simulation.faulty_log import FaultyLog
from simulation.traffic import TENANTS
from simulation.world import World, run_now

CALLS = {"in_values": ["call"]}
GROUPS = [["model", "region"]]
SOME_MODELS = {"name": "model", "in_values": ["a", "b"]}
BODIES: list[Body] = [
    a_metric_body("calls", event_type_filter=CALLS, group_keys=[["model"]]),
    a_metric_body("all", event_type_filter={}),
    a_sum_body("units", event_type_filter=CALLS, group_keys=GROUPS),
    a_sum_body("units", event_type_filter={"not_in_values": ["call"]}),
    a_sum_body("units", event_type_filter={}, property_filters=[SOME_MODELS]),
    a_metric_body("most", "MAX", event_type_filter={}, aggregation_key="units", group_keys=[["region"]]),
    a_metric_body("least", "MIN", event_type_filter=CALLS, aggregation_key="units"),
    a_metric_body("latest", "LATEST", event_type_filter={}, aggregation_key="units", group_keys=[["model"]]),
    a_metric_body("models", "UNIQUE", event_type_filter={}, aggregation_key="model", group_keys=[["region"]]),
    a_metric_body("unnamed", event_type_filter=CALLS, property_filters=[{"name": "model", "exists": False}]),
    a_metric_body("level", "TIME_WEIGHTED_SUM", event_type_filter=CALLS, aggregation_key="units", group_keys=GROUPS),
    a_metric_body("seats", "TIME_WEIGHTED_SUM", event_type_filter={}, aggregation_key="units"),
]
CHANGES: list[Body] = [  # a group key added later is drawn beside these
    {"event_type_filter": CALLS},
    {"event_type_filter": {"not_in_values": ["upload"]}},
    {"event_type_filter": {"in_values": ["call", "upload"]}},
    {"property_filters": [SOME_MODELS]},
    {"property_filters": []},
    {"name": "of another name"},
]
METRICS_MAX, REVISIONS_MAX = 8, 12


class Definitions:
    """Whoever defines, changes and archives. `bodies` are tenant and body by id of every revision that ever was."""

    def __init__(self, world: World, log: FaultyLog) -> None:
        self._world, self._log = world, log
        self.metrics = Metrics(MemoryCatalog(), world, self._send)
        self.bodies: dict[str, tuple[str, Body]] = {}
        self.tenants: dict[str, str] = {}  # by metric
        self._live: list[str] = []

    def define(self) -> None:
        if len(self.tenants) >= METRICS_MAX:
            return
        chance = self._world.chance
        tenant, body = chance.choice(TENANTS), chance.choice(BODIES)
        metric_id, control_id = (f"{kind}-{len(self.tenants)}" for kind in ("metric", "define"))
        shape = msgspec.convert(body, MetricBody)

        def made(_metric_id: str, _control_id: str, now: datetime) -> Definition:
            return Definition(shape.to_metric(metric_id, tenant), now, control_id, shape.declared_group_keys())

        self.bodies[metric_id] = (tenant, body)
        self.tenants[metric_id] = tenant
        self._live.append(metric_id)
        self._world.tell(f"define {metric_id} of {tenant}: {body}")
        self._try(lambda: self.metrics.create(tenant, made))

    def revise(self) -> None:
        """Another filter, or a group key added later."""
        if len(self.bodies) >= REVISIONS_MAX:
            return
        chance = self._world.chance
        metric_id = chance.choice(self._live)
        tenant, change = self.tenants[metric_id], chance.choice(CHANGES)
        held = self.bodies[self._history(metric_id)[-1]][1]
        if chance.random() < 0.5:
            change = {"group_keys": [*held.get("group_keys", []), [chance.choice(["region", "model"])]]}
        self._world.tell(f"change {metric_id} of {tenant}: {change}")
        update = msgspec.convert({"id": metric_id, **change}, MetricUpdateBody)
        self._try(lambda: self.metrics.revise(tenant, metric_id, update.applied_to))
        self.bodies.setdefault(self._history(metric_id)[-1], (tenant, {**held, **change}))

    def _history(self, metric_id: str) -> list[str]:
        definition = self.metrics.find(self.tenants[metric_id], metric_id)
        assert definition is not None
        return [revision.metric.id for revision in definition.history]

    def archive(self) -> None:
        if len(self._live) > 1:
            at = self._world.chance.choice([-1, -1, 0])  # the newest, whose definition may still be on its way
            metric_id = self._live.pop(at)
            self._world.tell(f"archive {metric_id}")
            self._try(lambda: self.metrics.archive(self.tenants[metric_id], metric_id))

    def send_pending(self) -> None:
        self._try(self.metrics.send_pending)

    def _try(self, announce: Callable[[], object]) -> None:
        try:
            announce()
        except LogUnavailable:
            self._world.tell("it waits in the outbox")

    def _send(self, control: Control) -> Vector:
        """One partition after the other, as the product's sender does; the first failure ends it."""
        stamped_at_us, payload = self._world.now_us, encode_control(control)
        partitions = range(self._log.identity.partitions)
        return tuple(run_now(self._log.append(p, Kind.CONTROL, stamped_at_us, payload)).offset for p in partitions)
