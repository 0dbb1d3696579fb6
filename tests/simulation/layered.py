"""Backfills in the simulation: layers that are opened, sent, committed and reverted while everything fails.

A simulation of its own around the other one, so that its seeds are not changed by what is drawn here.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

import reference
from builders import rfc3339, to_json
from penstock.aggregator import backfills
from penstock.aggregator.auditor import WINDOWS_END_US
from penstock.aggregator.backfills import Backfill, Backfills, State, Wanted
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.gateway.coalescer import _Waiting
from penstock.gateway.decode import decode
from penstock.kernel.event import Verdict
from penstock.kernel.layer import Layer
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Conflict, LogUnavailable
from penstock.kernel.record import Kind, LogRecord, Marker, Vector
from penstock.kernel.window import Span, from_us
from simulation import check, oracle
from simulation.check import require
from simulation.faulty_store import ReaderView, Tables
from simulation.oracle import HOUR_US, LATE_US, QUARTER_US, Account, Body, Oracle, Row
from simulation.scenario import Simulation, Weaken, _simulate
from simulation.traffic import CUSTOMERS, HOT_US, REQUEST_MAX, TENANTS, Answer, GatewayPod
from simulation.world import World

BACKFILLS_MAX = 5


class Life(NamedTuple):
    """A layer as one partition's log has it: `opened` and `committed` are offsets."""

    tenant: str
    scope: str
    start_us: int
    end_us: int
    customers: tuple[str, ...] | None
    opened_at_us: int
    committed: int | None = None

    def covers(self, event: Body) -> bool:
        mine = self.customers is None or event["customer_id"] in self.customers
        return mine and self.start_us <= event["time_us"] < self.end_us


class LayerOracle(Oracle):
    """The oracle of a log with layers in it."""

    def __init__(self, history: Any, bodies: Any) -> None:
        super().__init__(history, bodies)
        self.lives: list[dict[str, Life]] = [{} for _ in history]

    def _fold(self, account: Account, record: LogRecord) -> None:
        control = json.loads(record.payload) if record.kind is Kind.CONTROL else {}
        is_news = bool(control) and control["sequence"] > account.sequences.get(control["subject"], -1)
        if record.kind is Kind.CHUNK:
            self._tell(account, record)
            for place, (scope, event) in enumerate(oracle.events_in(record)):
                self._event(account, record.offset, place, scope, event)
        elif control.get("type") in ("layer_opened", "layer_committed"):
            self._tell(account, record)
            if is_news:
                account.sequences[control["subject"]] = control["sequence"]
                self._layer(account.partition, record.offset, control)
        else:
            super()._fold(account, record)
            if is_news and control["type"] == "metric_defined":
                self._fill(account, record.offset, control["metric"]["id"])

    def _tell(self, account: Account, record: LogRecord) -> None:
        account.clock_us = max(account.clock_us, min(record.appended_at_us, record.stamped_at_us + 300_000_000))
        account.folded += 1
        account.said = record.offset

    def _layer(self, partition: int, offset: int, control: Any) -> None:
        layer = control["layer"]
        scope = f"{layer['tenant']}#{layer['id']}"
        keys = None if layer["customers"] is None else tuple(layer["customers"])
        life = Life(layer["tenant"], scope, layer["start_us"], layer["end_us"], keys, layer["opened_at_us"])
        is_commit = control["type"] == "layer_committed"
        self.lives[partition][scope] = life._replace(committed=offset) if is_commit else life

    def _event(self, account: Account, offset: int, place: int, scope: str, event: Body) -> None:
        life = self.lives[account.partition].get(scope)
        if life is not None:
            self._own_event(account, life, offset, place, event)
            return
        kept = len(account.rows)
        oracle._event(account, offset, place, scope, event)
        if len(account.rows) == kept or account.rows[-1].outcome == "QUARANTINED":
            return
        for life in self.lives[account.partition].values():
            if life.tenant == scope and life.committed is not None and life.covers(event):
                self._count(account, life, offset, event)

    def _own_event(self, account: Account, life: Life, offset: int, place: int, event: Body) -> None:
        scope = life.scope
        outcome = "LATE"
        if life.opened_at_us >= account.clock_us - LATE_US:
            outcome = oracle._judged(account, scope, event | {"time_us": life.opened_at_us})
        if outcome == "KEPT":
            mine = [body for owner, body in account.metrics.values() if owner == life.tenant]
            bad = reference.is_quarantined(mine, event)
            outcome = "QUARANTINED" if bad else self._count(account, life, offset, event)
            account.rows.append(Row(offset, place, scope, event, outcome))
            account.originals.append(account.rows[-1])
        hour = account.clock_us // HOUR_US * HOUR_US
        key = (scope, "penstock.conservation", "", hour, (outcome,), None, account.partition)
        held = oracle._last(account, key)
        oracle._change(account, key, offset, held._replace(events=held.events + 1))
        account.copies.append((offset, scope, event["transaction_id"], outcome))

    def _count(self, account: Account, life: Life, offset: int, event: Body) -> str:
        outcome = "UNMATCHED"
        for metric_id, (owner, body) in account.metrics.items():
            key = oracle._key(account.partition, life.scope, metric_id, body, event) if owner == life.tenant else None
            if key is not None:
                oracle._change(account, key, offset, oracle._plus(body, oracle._last(account, key), event))
                oracle._combine(account, key, offset)
                outcome = "COUNTED"
        return outcome

    def _fill(self, account: Account, offset: int, metric_id: str) -> None:
        """The cells of layers as of the metric's control record."""
        tenant, body = self._bodies[metric_id]
        for life in self.lives[account.partition].values():
            filled: dict[Any, Any] = {}
            for row in account.rows:
                bad = row.outcome == "QUARANTINED" or reference.is_quarantined([body], row.event)
                if life.tenant == tenant and not bad and _is_in(life, row):
                    key = oracle._key(account.partition, life.scope, metric_id, body, row.event)
                    if key is not None:
                        filled[key] = oracle._plus(body, filled.get(key, oracle.Value()), row.event)
            for key, value in filled.items():
                oracle._change(account, key, offset, value)
                oracle._combine(account, key, offset, "filled")


def _is_in(life: Life, row: Row) -> bool:
    if row.tenant == life.scope:
        return True
    is_after = life.committed is not None and row.offset > life.committed
    return row.tenant == life.tenant and is_after and life.covers(row.event)


@dataclass
class LayersInForce:
    """What a reader sees who takes these layers."""

    oracle: LayerOracle
    layers: Sequence[str]
    holds: Callable[[str, str], bool]  # whether a metric, by id, was not yet archived when a layer was committed

    def events_of(self, metric_id: str, vector: Vector) -> list[Body]:
        """As `Oracle.events_of`, with what the layers put in the place of their intervals, under ids of its own."""
        tenant, body = self.oracle._bodies[metric_id]
        found: list[Body] = []
        for account in self.oracle.accounts():
            known = self.oracle.lives[account.partition].values()
            lives = [life for life in known if _id(life) in self.layers and self.holds(metric_id, _id(life))]
            until = min(vector[account.partition], account.until.get(metric_id, vector[account.partition]))
            for row in account.rows:
                if row.offset > until or row.outcome == "QUARANTINED":
                    continue
                if reference.is_quarantined([body], row.event):
                    continue
                if row.tenant == tenant and not any(life.covers(row.event) for life in lives):
                    found.append(row.event)
                for life in lives:  # of the metric's tenant, and in disjoint windows
                    if _is_in(life, row):
                        mark = "" if row.tenant == tenant else " of a backfill"
                        found.append(row.event | {"transaction_id": row.event["transaction_id"] + mark})
        return found


def _id(life: Life) -> str:
    return life.scope.partition("#")[2]


class Backfilling:
    """Whoever backfills. `required` are what a reader must see once a layer is in force: what was answered before."""

    def __init__(self, simulation: LayeredSimulation) -> None:
        self._simulation, self._world = simulation, simulation.world
        self.backfills = Backfills(MemoryCatalog(), self._world, simulation.definitions._send, self._vector)
        self._open: list[tuple[str, str]] = []
        self._unanswered: list[tuple[Layer, list[Body]]] = []

    def _vector(self) -> Vector:
        markers: dict[int, Marker] = self._simulation.tables.markers()
        return tuple(markers[p].offset if p in markers else -1 for p in range(self._world.plan.partitions))

    def open(self) -> None:
        chance, now_us = self._world.chance, self._world.now_us
        if sum(len(self.backfills.list(tenant)) for tenant in TENANTS) >= BACKFILLS_MAX:
            return
        # Where most live events are: around the last hot minutes.
        start_us = now_us // HOT_US * HOT_US - chance.randrange(2) * HOT_US + chance.randrange(3) * QUARTER_US
        span = Span(from_us(start_us), from_us(start_us + chance.randrange(1, 4) * QUARTER_US))
        keys = chance.choice([None, None, tuple(sorted(chance.sample(CUSTOMERS, 2)))])
        tenant = chance.choice(TENANTS)
        self._world.tell(f"open a backfill of {tenant}, {span}, {keys}")
        try:
            made = self.backfills.create(tenant, Wanted(span, keys, keys))
        except LogUnavailable:
            self._world.tell("it waits in the outbox")
            made = self.backfills.list(tenant)[-1][1]
        self._open.append((tenant, made.layer.id))

    def send(self) -> None:
        found = self._one(State.OPEN)
        if found is None:
            return
        chance, layer = self._world.chance, found.layer
        clients = self._simulation.clients
        live = [event for tenant, event in clients._sent if tenant == layer.tenant]
        events = []
        for _ in range(chance.randrange(1, 4)):
            event: Body = dict(chance.choice(live)) if live else {"transaction_id": "first", "event_type": "call"}
            at_us = layer.start_us + chance.randrange(layer.end_us - layer.start_us)
            # Another instant than any live one: which of two is later is not to be left to their ids.
            event["timestamp"] = rfc3339(from_us(at_us // 2 * 2 + 1))
            event["customer_id"] = chance.choice(layer.customers or CUSTOMERS)
            event["properties"] = clients._properties()
            events.append(event)
        self._submit(found.layer, events)

    def retry(self) -> None:
        if self._unanswered:
            self._submit(*self._unanswered.pop(0))

    def _submit(self, layer: Layer, events: list[Body]) -> None:
        """To a gateway that asks whether the backfill is open, as `Gateway.ingest` does."""
        pod: GatewayPod = self._world.chance.choice(self._simulation.clients._gateways)
        try:
            layer = self.backfills.open_layer(layer.tenant, layer.id)
        except (Conflict, LogUnavailable) as exc:
            self._world.tell(f"the backfill takes no events: {exc}")
            return
        body, answer = to_json(events), cast(Any, Answer())
        request = msgspec.structs.replace(decode(body, 1_000, REQUEST_MAX), layer=layer)
        pod.settle(_Waiting(layer.scope, request, len(body), answer))
        if answer.error is not None and not isinstance(answer.error, LogUnavailable):
            raise answer.error
        if answer.result is None:
            self._unanswered.append((layer, events))
            return
        others = {verdict.index: verdict.verdict for verdict in answer.result.events}
        for index, event in enumerate(events):
            name = (layer.scope, event["transaction_id"])
            verdict = others.get(index, Verdict.ACCEPTED)
            require(verdict is not Verdict.REJECTED, f"{event} was rejected")
            self._simulation.clients.acknowledged.add(name)
            if verdict is Verdict.ACCEPTED:
                self._simulation.clients.accepted.add(name)

    def commit(self) -> None:
        found = self._one(State.OPEN)
        if found is not None:
            self._world.tell(f"commit backfill {found.layer.id}")
            try:
                self.backfills.commit(found.layer.tenant, found.layer.id)
            except (Conflict, LogUnavailable) as exc:
                self._world.tell(f"it waits: {exc}")

    def revert(self) -> None:
        found = self._one(self._world.chance.choice(list(State)))
        if found is not None:
            self._world.tell(f"revert backfill {found.layer.id}, {found.state}")
            self.backfills.revert(found.layer.tenant, found.layer.id)

    def settle(self) -> None:
        try:
            self.backfills._outbox.send_pending()
        except LogUnavailable:
            self._world.tell("the outbox of backfills waits on")
        self.backfills.settle()

    def _one(self, state: State) -> Backfill | None:
        mine = [self.backfills.find(*names) for names in self._open]
        mine = [each for each in mine if each.state is state]
        return self._world.chance.choice(mine) if mine else None

    def clear_up(self) -> None:
        while self._unanswered:
            self.retry()
        for tenant, backfill_id in self._open:
            if self.backfills.find(tenant, backfill_id).state is State.OPEN and self._world.chance.random() < 0.7:
                try:
                    self.backfills.commit(tenant, backfill_id)
                except Conflict as exc:
                    self._world.tell(f"left open: {exc}")
        self.settle()


class LayeredSimulation(Simulation):
    """The parts of one seed, with someone who backfills."""

    def __init__(self, world: World, folder: Path | None, rows_checked: bool) -> None:
        world.plan = msgspec.structs.replace(world.plan, has_corrections=False)
        super().__init__(world, folder, rows_checked)
        self.oracle: LayerOracle = LayerOracle(self.log.history, self.definitions.bodies)
        self.backfilling = Backfilling(self)
        view = cast(UsageStore, ReaderView(world, self.tables))
        in_force = self.backfilling.backfills.in_force
        self.readers._usage = UsageService(view, self.definitions.metrics, world.plan.partitions, in_force=in_force)
        self._acts += [
            (self.backfilling.open, 8),
            (self.backfilling.send, 24),
            (self.backfilling.retry, 3),
            (self.backfilling.commit, 6),
            (self.backfilling.revert, 2),
            (self.backfilling.settle, 10),
            (self.readers.read, 10),
            (self._audit, 2),
        ]

    def _clear_up(self) -> None:
        super()._clear_up()
        self.backfilling.clear_up()
        self.fleet.drain()
        self.backfilling.settle()
        self.readers.read_all()

    def _check(self) -> None:
        check.check_end(self.oracle, self.tables)
        check.check_acknowledged(self.oracle, self.clients.acknowledged, self.clients.accepted)
        for read in self.readers.cuts:
            layers = read.answers[0].layers
            require(all(usage.layers == layers for usage in read.answers), "one read took several sets of layers")
            self._check_switched(layers, read.answers[0].vector)
            view = cast(Oracle, LayersInForce(self.oracle, layers, self._holds))
            check.check_cut(view, self.definitions.bodies, read)

    def _audit(self) -> None:
        """Every cell that there is of a layer is what stored events make, whatever is under way."""
        revision = self.world.chance.choice(sorted(self.definitions.bodies))
        for scope in self.readers._auditor.scopes(self.definitions.bodies[revision][0])[1:]:
            found = self.readers._auditor.cells(scope, revision, None, (0, WINDOWS_END_US))
            require(not found.differences, f"the auditor finds {found.differences}")

    def _holds(self, revision: str, layer_id: str) -> bool:
        """An archived metric keeps what it counted: a layer that was committed later has nothing of it."""
        tenant, metric_id = self.definitions.bodies[revision][0], revision.partition("~")[0]
        definition = self.definitions.metrics.find(tenant, metric_id)
        committed_at = self.backfilling.backfills.find(tenant, layer_id).committed_at
        assert definition is not None
        assert committed_at is not None
        return definition.archived_at is None or committed_at < definition.archived_at

    def _check_switched(self, layers: Sequence[str], vector: Vector) -> None:
        """A layer is in force only where every partition has come to its commit."""
        for partition, lives in enumerate(self.oracle.lives):
            for layer_id in layers:
                [life] = [life for life in lives.values() if _id(life) == layer_id]
                at = life.committed
                require(at is not None and vector[partition] >= at, f"{layer_id} is in force at {vector}, not at {at}")


def check_customers(oracle: Oracle, tables: Tables) -> None:
    """A customer of whom only a backfill has events is the tenant's too."""
    for tenant in TENANTS:
        rows = [row for account in oracle.accounts() for row in account.rows]
        expected = sorted({row.event["customer_id"] for row in rows if row.tenant.partition("#")[0] == tenant})
        require(tables.customer_keys(tenant, "", 100) == expected, f"touched customers of {tenant} are not {expected}")


def play_layers(world: World, weaken: Weaken | None = None, rows_checked: bool = True) -> LayeredSimulation:
    """As `scenario.play`, with backfills."""
    numbers = itertools.count()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        _simulate(patch, world)
        patch.setattr(backfills, "uuid", types.SimpleNamespace(uuid4=lambda: f"layer-{next(numbers)}"))
        patch.setattr(check, "_check_customers", check_customers)
        simulation = LayeredSimulation(world, Path(folder) if world.plan.has_files else None, rows_checked)
        if weaken is not None:
            weaken(patch, simulation)
        try:
            simulation.play()
        finally:
            simulation.fleet.close()
    return simulation
