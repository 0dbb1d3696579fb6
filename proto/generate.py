"""Makes src/penstock/wire/ from usage.proto: `make proto`. The output names the versions of the pinned grpcio-tools.

protoc writes imports by the proto's package (`penstock.v1`); the modules live in `penstock.wire`, so these names are
rewritten. Those on the wire and in the descriptors stay the proto's.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
WIRE = PROTO.parent / "src/penstock/wire"
SOURCE = "penstock/v1/usage.proto"
RENAMED = {
    "from penstock.v1 import usage_pb2": "from penstock.wire import usage_pb2",
    "'penstock.v1.usage_pb2'": "'penstock.wire.usage_pb2'",  # the module that a message says it is from
}
OUTPUTS = ("usage_pb2.py", "usage_pb2.pyi", "usage_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the generated modules into the folder `target`."""
    with tempfile.TemporaryDirectory() as folder:
        includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", *includes, *outputs, SOURCE]):
            raise SystemExit(f"protoc refused {SOURCE}")
        for name in OUTPUTS:
            text = (Path(folder) / "penstock/v1" / name).read_text()
            for made, wanted in RENAMED.items():
                text = text.replace(made, wanted)
            (target / name).write_text(text)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else WIRE)
