"""The services to which a gateway by itself forwards: whether they are there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from penstock.app.forward import Forwarder
from penstock.app.health import Check
from penstock.app.part import Part


class ForwardPart(Part):
    """They are told and not needed: events are taken without them."""

    def __init__(self, forwarder: Forwarder, owners: Sequence[str]) -> None:
        self._forwarder, self._owners = forwarder, owners

    def checks(self) -> Sequence[Check]:
        return [Check(owner, partial(self._forwarder.look, owner), is_needed=False) for owner in self._owners]
