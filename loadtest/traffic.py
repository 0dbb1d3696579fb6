"""Traffic whose truth is known: batches from a template, each batch with ids of its own.

The values of a template repeat in every batch, so the truth of a run is the template's times the batches acknowledged.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

_MARK = "@@@@@@@@@@"
MODELS = ("atlas-large", "atlas-small", "atlas-code")
REGIONS = ("eu-west", "us-east")


class Template:
    """A batch of `size` events of an LLM vendor, about 220 bytes each, over the hour before `now`."""

    def __init__(self, size: int, customers: list[str], seed: int, now: datetime) -> None:
        chance = random.Random(seed)  # the same traffic for the same seed
        events = []
        self.output_tokens: Counter[tuple[str, str]] = Counter()
        for i in range(size):
            model, region, tokens = chance.choice(MODELS), chance.choice(REGIONS), chance.randrange(2_000)
            self.output_tokens[model, region] += tokens
            at = now.astimezone(UTC) - timedelta(milliseconds=chance.randrange(3_600_000))
            events.append(
                {
                    "transaction_id": f"{_MARK}-{i:06d}",
                    "customer_id": chance.choice(customers),
                    "event_type": "llm.completion",
                    "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "properties": {
                        "input_tokens": chance.randrange(8_000),
                        "output_tokens": tokens,
                        "model": model,
                        "region": region,
                    },
                }
            )
        self.size = size
        self._text = json.dumps(events, separators=(",", ":")).encode()

    def batch(self, number: int) -> bytes:
        """The body of batch `number`; no two numbers share an id."""
        return self._text.replace(_MARK.encode(), f"{number:010d}".encode())

    @property
    def bytes_per_event(self) -> int:
        return len(self._text) // self.size
