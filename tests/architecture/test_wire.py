"""The generated code is what `make proto` makes of usage.proto now, and the proto keeps its promises to clients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.wire import usage_pb2, usage_pb2_grpc

REPOSITORY = Path(__file__).parents[2]
WIRE = REPOSITORY / "src/penstock/wire"
MODULES = ["usage_pb2.py", "usage_pb2.pyi", "usage_pb2_grpc.py"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the generator makes today; in a process of its own, since protoc keeps global state."""
    folder = tmp_path_factory.mktemp("wire")
    subprocess.run([sys.executable, REPOSITORY / "proto/generate.py", folder], check=True, timeout=60)
    return folder


def test_the_generator_makes_every_module_that_is_there(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == sorted(MODULES)
    assert sorted(path.name for path in WIRE.glob("usage*")) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_generated_code_is_current(made: Path, name: str) -> None:
    assert (WIRE / name).read_text() == (made / name).read_text(), "run `make proto`"


def test_the_modules_live_in_penstock_wire_and_the_names_on_the_wire_are_the_proto_s() -> None:
    assert usage_pb2.Event.__module__ == "penstock.wire.usage_pb2"
    assert usage_pb2.DESCRIPTOR.package == "penstock.v1"
    assert usage_pb2.DESCRIPTOR.name == "penstock/v1/usage.proto"
    assert usage_pb2_grpc.UsageStub.__module__ == "penstock.wire.usage_pb2_grpc"


def test_no_field_has_changed_its_number_or_name() -> None:
    """Old clients stay: a field may be added here, never changed."""
    fields = {
        message.name: [(field.number, field.name) for field in message.fields]
        for message in usage_pb2.DESCRIPTOR.message_types_by_name.values()
    }

    assert fields == {
        "EventBatch": [(1, "batch_id"), (2, "events"), (3, "columns")],
        "Event": [
            (1, "transaction_id"),
            (2, "customer_id"),
            (3, "event_type"),
            (4, "time_us"),
            (5, "properties_json"),
        ],
        "EventColumns": [
            (1, "transaction_ids"),
            (2, "customer_ids"),
            (3, "event_types"),
            (4, "times_us"),
            (5, "properties_json"),
        ],
        "ArrowBatch": [(1, "batch_id"), (2, "ipc_stream")],
        "IngestReceipt": [
            (1, "batch_id"),
            (2, "accepted"),
            (3, "duplicate"),
            (4, "conflict"),
            (5, "rejected"),
            (6, "positions"),
            (7, "not_accepted"),
        ],
        "Position": [(1, "partition"), (2, "offset")],
        "EventVerdict": [(1, "index"), (2, "transaction_id"), (3, "verdict"), (4, "reason")],
    }
