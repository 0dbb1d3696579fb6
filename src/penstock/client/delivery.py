"""One batch until each of its events has an answer: post, wait and post again, or cut in two what does not fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from penstock.client.answer import Answer, EventVerdict, Hopeless, NotAcknowledged, Reply, Unfit, read_answer
from penstock.client.backoff import Backoff
from penstock.client.errors import Refused
from penstock.client.tally import Tally
from penstock.client.waiting import Batch

INGEST_PATH = "/v1/ingest"


class Wire(Protocol):
    """What carries a request: `connection.Connection`."""

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Raise `NotAcknowledged` where there is no whole answer."""
        ...


class Delivery:
    """Delivers one batch at a time. `pause` waits for some seconds and says whether to go on."""

    def __init__(
        self,
        wire: Wire,
        backoff: Backoff,
        tally: Tally,
        settle: Callable[[int, int], None],
        pause: Callable[[float], bool],
    ) -> None:
        self._wire, self._backoff, self._tally, self._settle, self._pause = wire, backoff, tally, settle, pause

    def deliver(self, batch: Batch) -> None:
        """Return when every event is answered, or when told to stop. Raise `Refused` where no retry can help."""
        parts = [batch]
        failures = 0
        while parts:
            first, events = parts.pop()
            try:
                self._post(first, events)
                failures = 0
            except Unfit as exc:
                parts.extend(self._cut(first, events, str(exc)))
            except NotAcknowledged as exc:
                parts.append(Batch(first, events))
                failures += 1
                self._tally.retried(str(exc))
                if not self._pause(self._backoff.wait_s(failures, exc.retry_after_s, random.random)):
                    return
            except Hopeless as exc:
                raise Refused(exc.status, str(exc)) from exc

    def _post(self, first: int, events: Sequence[bytes]) -> None:
        reply = self._wire.request("POST", INGEST_PATH, b"[" + b",".join(events) + b"]")
        now = datetime.now(UTC)
        answer = read_answer(reply, len(events), now)
        self._conclude(first, events, answer, _server_time(reply) or now)

    def _cut(self, first: int, events: list[bytes], reason: str) -> list[Batch]:
        """Both halves, the first one last: it is next. One event that the server cannot read must not sink the rest."""
        if len(events) > 1:
            half = len(events) // 2
            return [Batch(first + half, events[half:]), Batch(first, events[:half])]
        verdict = EventVerdict(0, "rejected", reason)
        self._conclude(first, events, Answer(0, 0, 0, 1, (), (verdict,)), datetime.now(UTC))
        return []

    def _conclude(self, first: int, events: Sequence[bytes], answer: Answer, at: datetime) -> None:
        # Refusals are told before they are forgotten: after a kill between the two they are told again.
        self._tally.answered(first, events, answer, at)
        self._settle(first, len(events))


def _server_time(reply: Reply) -> datetime | None:
    try:
        return parsedate_to_datetime(reply.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
