"""What every part of one process shares."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.app.config import Config
from penstock.app.telemetry import Telemetry
from penstock.kernel.ports.clock import Clock


class Common(msgspec.Struct, frozen=True):
    """Made once per process. `loop` is the one that the log lives in."""

    config: Config
    loop: asyncio.AbstractEventLoop
    clock: Clock
    telemetry: Telemetry
