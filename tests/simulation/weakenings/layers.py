"""What CORE.md says of backfills, turned off one by one; caught by the simulation with backfills (layered.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.aggregator import backfills, consume, fold, layers, usage
from penstock.aggregator.fill import Filling
from penstock.gateway import batch
from penstock.gateway.identities import identify_column
from penstock.kernel.control import LayerOpened
from penstock.kernel.layer import LayerLife, tenant_of
from penstock.kernel.record import Vector
from penstock.kernel.stored import StoredEvents
from simulation.scenario import Simulation
from simulation.weakenings.switch import Patch, Switches

switches = Switches()
weakening = switches.weakening


@weakening(seed=0)
def switched_before_every_marker_passed_the_commit(patch: Patch, _: Simulation) -> None:
    """Readers see half of a switch: some partitions have not folded all that was sent."""
    patch.setattr(backfills, "covers", lambda newer, older: True)


@weakening(seed=0)
def a_layer_shares_the_dedupe_scope_of_the_base(patch: Patch, _: Simulation) -> None:
    """Ids that are sent again are dropped as duplicates, and the commit then removes the originals."""

    def identify(hash_key: bytes, scope: str, ids: Any) -> Any:
        return identify_column(hash_key, tenant_of(scope), ids)

    patch.setattr(batch, "identify_column", identify)


@weakening(seed=17)
def live_events_after_the_commit_are_not_in_the_layer(patch: Patch, _: Simulation) -> None:
    """Whoever reads the layer never sees what came late."""
    patch.setattr(fold, "followed", lambda layers, chunk: ())


@weakening(seed=2)
def live_events_from_the_opening_on_are_in_the_layer(patch: Patch, _: Simulation) -> None:
    """What was there before the commit is what a backfill replaces."""
    apply = layers.apply_layer

    def from_the_opening(lives: dict[str, LayerLife], control: Any, offset: int) -> None:
        if isinstance(control, LayerOpened):
            lives[control.layer.scope] = LayerLife(control.layer, offset)
        else:
            apply(lives, control, offset)

    patch.setattr(consume, "apply_layer", from_the_opening)


@weakening(seed=3)
def a_restart_forgets_layers(patch: Patch, _: Simulation) -> None:
    """Layers are a function of the log's prefix like everything else; an owner that starts anew must have them."""
    restored = consume.Owner._restored

    def without(self: Any, marker: Any) -> Any:
        fold, applied = restored(self, marker)
        fold.layers = {}
        return fold, applied

    patch.setattr(consume.Owner, "_restored", without)


@weakening(seed=0)
def a_fill_forgets_layers(patch: Patch, _: Simulation) -> None:
    """A metric that comes later has cells of the base alone."""

    def scopes(self: Filling) -> tuple[str, ...]:
        return (self.metric.tenant,)

    patch.setattr(Filling, "scopes", property(scopes))


@weakening(seed=2)
def ragged_ends_are_read_from_the_base(patch: Patch, _: Simulation) -> None:
    """Cells of the layer, and stored events of what it replaced."""

    def base(
        store: Any, tenant: str, in_force: Any, customers: Any, span: Any, as_of: Vector
    ) -> Iterator[StoredEvents]:
        return store.read_events(tenant, customers, span, as_of, None)  # type: ignore[no-any-return]

    patch.setattr(usage, "events_in_force", base)


@weakening(seed=0)
def events_of_a_layer_are_late_by_their_own_time(patch: Patch, _: Simulation) -> None:
    """The late limit is of live events: a backfill is of what is long ago."""
    patch.setattr(fold, "age_limits", lambda layers, chunk: chunk.times_us)
