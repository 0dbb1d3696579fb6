"""A port of every shape that crosses the wire, a service that answers it, and both ends of a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from penstock.kernel.meter import Aggregation
from penstock.kernel.problems import NotFound
from penstock.rpc.client import Sibling
from penstock.rpc.port import Service
from penstock.rpc.server import RpcServer
from penstock.rpc.trust import Trust

SECRET = "a-secret-of-the-tests"
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


class Parcel(msgspec.Struct, frozen=True):
    """One of everything."""

    amount: Decimal
    at: datetime
    aggregation: Aggregation
    tags: frozenset[str]
    pairs: tuple[tuple[str, str | None], ...]
    payload: bytes
    note: str | None = None


class Depot(Protocol):
    """A port."""

    def keep(self, *parcels: Parcel) -> tuple[Parcel, ...]: ...

    def find(self, name: str, among: Sequence[str] = ()) -> Parcel | None: ...

    def asked_by(self) -> str | None: ...

    def book(self, amount: Decimal) -> None: ...


DEPOT = Service(Depot, reads=["keep", "find", "asked_by"])  # type: ignore[type-abstract]


class Shed:
    """Answers `Depot` and counts the bookings."""

    def __init__(self) -> None:
        self.booked: list[Decimal] = []

    def keep(self, *parcels: Parcel) -> tuple[Parcel, ...]:
        return parcels

    def find(self, name: str, among: Sequence[str] = ()) -> Parcel | None:
        if name == "a bug":
            raise KeyError(name)
        if name not in among:
            raise NotFound(f"no parcel {name}", field="name", retry_after_s=7)
        return None

    def asked_by(self) -> str | None:
        return REQUEST_ID.get()

    def book(self, amount: Decimal) -> None:
        self.booked.append(amount)


class Line:
    """Both ends. `pauses` are those that the caller made between its attempts."""

    def __init__(self, shed: Shed, trust: Trust, caller: Trust, timeout_ms: int) -> None:
        self._shed, self._trust = shed, trust
        self.pauses: list[float] = []
        self._server = self._made()
        self.port = self._server.start("127.0.0.1", 0)
        address = f"127.0.0.1:{self.port}"
        self.sibling = Sibling("depot", address, caller, REQUEST_ID, timeout_ms, self.pauses.append)
        self.depot = self.sibling.port(DEPOT)

    def _made(self) -> RpcServer:
        return RpcServer("depot", [(DEPOT, self._shed)], self._trust, REQUEST_ID)

    def hang_up(self) -> None:
        self._server.stop(0)

    def pick_up(self) -> None:
        self._server = self._made()
        self._server.start("127.0.0.1", self.port)

    def close(self) -> None:
        self.sibling.close()
        self.hang_up()


@contextmanager
def a_line(
    shed: Shed | None = None, trust: Trust | None = None, caller: Trust | None = None, timeout_ms: int = 5_000
) -> Iterator[Line]:
    trust = trust or Trust(SECRET)
    with ExitStack() as stack:
        line = Line(shed or Shed(), trust, caller or trust, timeout_ms)
        stack.callback(line.close)
        yield line
