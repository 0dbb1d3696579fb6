"""What a broker, or its absence, answers, as the problem that a caller of the log knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aiokafka.errors import KafkaError

from penstock.kernel.problems import LogUnavailable

RETRY_AFTER_S = 1


@contextlib.contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Raise `LogUnavailable` for whatever the brokers, or the way to them, raise in this block."""
    try:
        yield
    except (KafkaError, OSError) as exc:  # a time-out is an OSError
        raise LogUnavailable(f"{doing}: {str(exc) or type(exc).__name__}", retry_after_s=RETRY_AFTER_S) from exc
