"""When a fee is due. What it costs does not depend on it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from penstock.kernel.window import Span


class Timing(Enum):
    """Whether a stretch of service is paid when it begins or when it is over."""

    IN_ADVANCE = "IN_ADVANCE"
    IN_ARREARS = "IN_ARREARS"


def due_at(span: Span, timing: Timing) -> datetime:
    """The instant at which the fee for `span` is due."""
    return span.start if timing is Timing.IN_ADVANCE else span.end
