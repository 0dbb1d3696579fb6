"""Events of a backfill in the gateway, in one batch with live ones: its interval says what is taken."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np

from builders import HASH_KEY, Body, an_event, to_json, yesterday
from penstock.gateway.answer import IngestAnswer, Receipt
from penstock.gateway.batch import Batch
from penstock.gateway.decode import Decoded, decode
from penstock.gateway.dedupe import Window
from penstock.kernel.chunk import Chunk
from penstock.kernel.layer import Layer
from penstock.kernel.record import LogIdentity
from penstock.kernel.window import to_us

NOW_US = to_us(yesterday() + timedelta(days=1))
OLD = yesterday() - timedelta(days=100)
LAYER = Layer("one", "north", to_us(OLD), to_us(OLD + timedelta(hours=1)), ("acme",), NOW_US)


def asked(events: list[Body], layer: Layer | None = None) -> Decoded:
    return msgspec.structs.replace(decode(to_json(events), 100, 2**20), layer=layer)


def judged(*requests: Decoded) -> tuple[Batch, list[IngestAnswer]]:
    scopes = ["north" if request.layer is None else request.layer.scope for request in requests]
    batch = Batch(scopes, requests, LogIdentity("log", 1, HASH_KEY), NOW_US, 2**20)
    batch.judge(Window(1_000, 1))
    receipts = [Receipt(piece.partition, 0) for piece in batch.pieces]
    return batch, [batch.answer(number, receipts) for number in range(len(requests))]


def test_what_is_too_old_for_the_live_log_is_taken_by_the_layer_of_its_interval() -> None:
    event = an_event("same", at=OLD)

    batch, (live, layered) = judged(asked([event]), asked([event], LAYER))

    assert live.events[0].reason == "timestamp is more than 34 days ago"
    assert (layered.accepted, layered.rejected) == (1, 0)
    [piece] = batch.pieces
    assert Chunk.decode(piece.payload).codes("tenant")[1] == ["north#one"]


def test_what_is_not_of_the_layer_is_refused_though_the_live_log_takes_it() -> None:
    recent, foreign = an_event("recent", at=yesterday()), an_event("foreign", customer_id="globex", at=OLD)
    last = an_event("last", at=OLD + timedelta(hours=1))

    _, (live, layered) = judged(asked([recent]), asked([recent, foreign, last], LAYER))

    assert (live.accepted, layered.accepted) == (1, 0)
    assert [each.reason for each in layered.events] == [
        "timestamp is not in the interval of the backfill",
        "customer_id is not one of the backfill's customers",
        "timestamp is not in the interval of the backfill",
    ]


def test_one_id_in_the_live_log_and_in_a_layer_are_two_identities() -> None:
    wide = msgspec.structs.replace(LAYER, end_us=NOW_US)
    event = an_event("same", at=yesterday())

    batch, (live, layered) = judged(asked([event]), asked([event], wide))

    assert (live.accepted, layered.accepted) == (1, 1)
    [piece] = batch.pieces
    assert len(np.unique(Chunk.decode(piece.payload).identities, axis=0)) == 2
