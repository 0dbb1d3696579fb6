"""One JSON object a line over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from loadtest.drivers.base import Driver, Endpoint
from loadtest.drivers.http import as_sent
from loadtest.drivers.over_http import HttpDriver
from loadtest.traffic import Planned


def driver(endpoint: Endpoint) -> Driver:
    return HttpDriver(endpoint, "application/x-ndjson", lines)


def lines(events: Sequence[Planned], minute: int) -> bytes:
    return b"".join(msgspec.json.encode(as_sent(event, minute)) + b"\n" for event in events)
