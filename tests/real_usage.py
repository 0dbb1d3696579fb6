"""Real LLM inference calls as events: one hour of Azure's public trace, moved to yesterday.

The file lies beside the project (`../shared/data`), not in it. Its truth: 8,819 rows, 18,059,974 context tokens and
245,896 generated tokens.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builders import Body, a_metric_body, a_sum_body, rfc3339, yesterday

FILE = Path(__file__).parents[2] / "shared" / "data" / "azure_llm_inference_code_2023.csv"
EVENTS, INPUT_TOKENS, OUTPUT_TOKENS = 8_819, 18_059_974, 245_896
CUSTOMER_ALIAS = "azure-code"
SEED = 20_231_116

GROUP_KEYS = [["model", "region"]]
METRICS: dict[str, Body] = {
    "events": a_metric_body("calls", group_keys=GROUP_KEYS),
    "input": a_sum_body("input_tokens", group_keys=GROUP_KEYS),
    "output": a_sum_body("output_tokens", group_keys=GROUP_KEYS),
}


def real_events(rows_max: int | None = None) -> list[Body]:
    """The first rows of the file as events, in the file's order. Skips the test, by name, where the file is absent."""
    if not FILE.exists():
        pytest.skip(f"real usage is not here: {FILE} is missing")
    with FILE.open(newline="") as lines:
        events = [_event(number, row) for number, row in enumerate(csv.DictReader(lines), start=1)]
    return events[:rows_max]


def _event(number: int, row: dict[str, str]) -> Body:
    """Model and region are derived; some calls name no region, some write their tokens as text, as callers do."""
    at = datetime.fromisoformat(row["TIMESTAMP"]).replace(tzinfo=UTC)
    day = yesterday()
    context, generated = int(row["ContextTokens"]), int(row["GeneratedTokens"])
    properties: Body = {
        "input_tokens": context if number % 3 else str(context),
        "output_tokens": generated,
        "model": "large" if context >= 4_000 else "medium" if context >= 1_000 else "small",
    }
    if number % 17:
        properties["region"] = ("us-east", "eu-west", "ap-south")[number % 5 % 3]
    return {
        "transaction_id": str(number),
        "customer_id": CUSTOMER_ALIAS,
        "event_type": "llm_call",
        "timestamp": rfc3339(at.replace(year=day.year, month=day.month, day=day.day)),
        "properties": properties,
    }


def shuffled_with_retries(events: list[Body]) -> list[Body]:
    """The events with every tenth once more, in an order that is the same on every run."""
    sent = [*events, *events[9::10]]
    random.Random(SEED).shuffle(sent)
    return sent


def seeds(count: int) -> Iterator[random.Random]:
    """A source of chance for each of `count` tries, the same on every run."""
    return (random.Random(f"{SEED}-{each}") for each in range(count))
