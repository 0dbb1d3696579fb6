"""Usage over gRPC, against a real server: rows, columns and streams count once, whoever leaves, stops or is killed."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from builders import a_metric_body, a_sum_body, an_event, yesterday
from penstock.kernel.window import to_us
from penstock.wire.usage_pb2 import Event, EventBatch, EventColumns, IngestReceipt
from penstock.wire.usage_pb2_grpc import UsageStub
from server import API_KEY, PenstockServer, eventually

KEY = (("authorization", f"Bearer {API_KEY}"),)
NOON = yesterday() + timedelta(hours=12)
NUMBERS = count()


class Shop(NamedTuple):
    """A customer of a running server, known by an alias of its own, and what is counted of it."""

    server: PenstockServer
    stub: Any
    customer_id: str
    alias: str
    metrics: tuple[str, str]

    def event(self, number: int, units: int = 1) -> Event:
        return Event(
            transaction_id=f"{self.alias}-{number}",
            customer_id=self.alias,
            event_type="llm_call",
            time_us=to_us(NOON) + number,
            properties_json=b'{"units":%d}' % units,
        )

    def rows(self, numbers: Iterable[int], batch_id: int = 0) -> EventBatch:
        return EventBatch(batch_id=batch_id, events=[self.event(number) for number in numbers])

    def columns(self, numbers: Sequence[int], batch_id: int = 0) -> EventBatch:
        size = len(numbers)
        columns = EventColumns(
            transaction_ids=[f"{self.alias}-{number}" for number in numbers],
            customer_ids=[self.alias] * size,
            event_types=["llm_call"] * size,
            times_us=[to_us(NOON) + number for number in numbers],
            properties_json=[b'{"units":1}'] * size,
        )
        return EventBatch(batch_id=batch_id, columns=columns)

    def counted(self) -> tuple[Decimal | None, ...]:
        """How many events count, and their units."""
        day, end = yesterday(), yesterday() + timedelta(days=1)
        return tuple(self.server.usage(each, self.customer_id, day, end).get((day, ())) for each in self.metrics)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("grpc") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: PenstockServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def metrics(server: PenstockServer) -> tuple[str, str]:
    bodies = (a_metric_body("events"), a_sum_body("units"))
    first, second = (server.client.v1.billable_metrics.create(**body).data.id for body in bodies)
    return first, second


@pytest.fixture
def shop(server: PenstockServer, channel: grpc.Channel, metrics: tuple[str, str]) -> Shop:
    alias = f"shop-{next(NUMBERS)}"
    customer_id = server.client.v1.customers.create(name=alias, ingest_aliases=[alias]).data.id
    stub = UsageStub(channel)  # type: ignore[no-untyped-call]  # generated
    return Shop(server, stub, customer_id, alias, metrics)


def test_rows_columns_and_a_stream_are_counted(shop: Shop) -> None:
    assert shop.stub.Ingest(shop.rows(range(10)), metadata=KEY).accepted == 10
    assert shop.stub.Ingest(shop.columns(range(10, 20)), metadata=KEY).accepted == 10
    batches = [shop.rows(range(20, 30), 1), shop.columns(range(25, 40), 2)]

    receipts = list(shop.stub.IngestStream(iter(batches), metadata=KEY))

    assert [(r.batch_id, r.accepted, r.duplicate) for r in receipts] == [(1, 10, 0), (2, 10, 5)]
    eventually(shop.counted, (40, 40))


def test_an_event_is_the_same_over_http_and_grpc(shop: Shop) -> None:
    event = an_event(f"{shop.alias}-0", customer_id=shop.alias, at=NOON, properties={"units": 1})
    shop.server.raw.ingest([event])

    again = shop.stub.Ingest(shop.rows([0]), metadata=KEY)
    other = shop.stub.Ingest(EventBatch(events=[shop.event(0, units=2)]), metadata=KEY)

    assert (again.duplicate, other.conflict) == (1, 1)
    eventually(shop.counted, (1, 1))


def test_numbers_arrive_to_their_last_digit(shop: Shop) -> None:
    event = shop.event(0)
    event.properties_json = b'{"units": 12345678901234567890123456.123456789012}'

    assert shop.stub.Ingest(EventBatch(events=[event]), metadata=KEY).accepted == 1

    eventually(shop.counted, (1, Decimal("12345678901234567890123456.123456789012")))


@pytest.mark.parametrize("key", [(), (("authorization", "Bearer pk_wrong_0123456789abcdef"),)])
def test_without_a_valid_key_nothing_is_taken(shop: Shop, key: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        shop.stub.Ingest(shop.rows([0]), metadata=key)

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert shop.stub.Ingest(shop.rows([1]), metadata=KEY).accepted == 1
    eventually(shop.counted, (1, 1))


def test_health_is_serving_while_the_server_is_ready(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    for service in ("", "penstock.v1.Usage"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_clients_that_leave_before_the_answer_and_send_again_are_counted_once(shop: Shop) -> None:
    for attempt in range(20):
        batch = shop.columns(range(500))
        call = shop.stub.Ingest.future(batch, metadata=KEY)
        time.sleep(attempt / 2_000)
        call.cancel()

    receipt = shop.stub.Ingest(shop.columns(range(500)), metadata=KEY)

    assert receipt.accepted + receipt.duplicate == 500
    eventually(shop.counted, (500, 500))


def test_a_long_stream_adds_up(shop: Shop) -> None:
    """It prints how fast it went, for who runs it with -s; the load harness measures."""
    batches = [shop.columns(range(start, start + 1_000), start // 1_000) for start in range(0, 100_000, 1_000)]
    began = time.perf_counter()

    receipts = list(shop.stub.IngestStream(iter(batches), metadata=KEY))

    acknowledged_s = time.perf_counter() - began
    assert [receipt.batch_id for receipt in receipts] == list(range(100))
    assert sum(receipt.accepted for receipt in receipts) == 100_000
    eventually(shop.counted, (100_000, 100_000))
    sys.stdout.write(f"gRPC stream, batches of 1,000: {100_000 / acknowledged_s:,.0f} events/s acknowledged\n")


def cross_off(receipts: Iterable[IngestReceipt], left: dict[int, EventBatch]) -> grpc.StatusCode | None:
    """Forget the batches that have a receipt, until the stream ends; return the status that it was ended with."""
    try:
        for receipt in receipts:
            assert receipt.accepted + receipt.duplicate == 100
            del left[receipt.batch_id]
    except grpc.RpcError as exc:
        code: grpc.StatusCode = exc.code()
        return code
    return None


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_a_stream_cut_off_by_the_server_and_sent_again_is_counted_once(tmp_path: Path, how: str) -> None:
    with PenstockServer(tmp_path / "data") as server:
        customer_id = server.client.v1.customers.create(name="Cut", ingest_aliases=["cut"]).data.id
        created = [
            server.client.v1.billable_metrics.create(**b).data.id for b in (a_metric_body("n"), a_sum_body("units"))
        ]
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = UsageStub(channel)  # type: ignore[no-untyped-call]  # generated
            shop = Shop(server, stub, customer_id, "cut", (created[0], created[1]))
            left = {n: shop.columns(range(100 * n, 100 * n + 100), n) for n in range(500)}
            stream = stub.IngestStream(iter(list(left.values())), metadata=KEY)
            assert cross_off(itertools.islice(stream, 50), left) is None

            getattr(server, how)()

            assert cross_off(stream, left) is grpc.StatusCode.UNAVAILABLE
            assert 0 < len(left) <= 450
            server.start()
            assert cross_off(stub.IngestStream(iter(list(left.values())), metadata=KEY), left) is None
            assert left == {}
            eventually(shop.counted, (50_000, 50_000))
        server.stop()
