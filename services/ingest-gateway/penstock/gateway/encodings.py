"""What Content-Encoding did to a body, undone: step by step, so that a bomb never becomes more than its limit."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from penstock.kernel.problems import BadRequest, TooLarge, UnsupportedMedia

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# RFC 9659: a zstd body needs no window above 8 MiB, and a decoder need not give it one.
ZSTD_WINDOW_LOG_MAX = 23
STEP_BYTES = 256 * 1024
# Events come down to a tenth or a thirtieth; what comes down to less, once it is large, was made to.
RATIO_MAX = 200
RATIO_FREE_BYTES = 1024 * 1024

_CORRUPT = (OSError, EOFError, zlib.error, zstd.ZstdError)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _open_gzip(body: io.BytesIO) -> AbstractContextManager[_Stream]:
    return gzip.GzipFile(fileobj=body)


def _open_zstd(body: io.BytesIO) -> AbstractContextManager[_Stream]:
    options = {int(zstd.DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG_MAX}
    return zstd.ZstdFile(body, options=options)


_OPENERS: dict[str, Callable[[io.BytesIO], AbstractContextManager[_Stream]]] = {
    "gzip": _open_gzip,
    "x-gzip": _open_gzip,
    "zstd": _open_zstd,
}


def encoding_of(header: str | None) -> str | None:
    """The encoding to undo, None for none. Raise `UnsupportedMedia` for one that is not known."""
    name = (header or "").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _OPENERS:
        raise UnsupportedMedia(
            f"content encodings are gzip, zstd and identity, one at a time, not {name}", field="content-encoding"
        )
    return name


def unpack(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body before it was encoded. Raise `TooLarge` for more than it may be, `BadRequest` for a corrupt one."""
    parts: list[bytes] = []
    size = 0
    try:
        with _OPENERS[encoding](io.BytesIO(body)) as stream:
            while part := stream.read(STEP_BYTES):
                size += len(part)
                if size > bytes_max:
                    raise TooLarge(f"the body has more than {bytes_max} bytes once unpacked")
                if size > max(RATIO_FREE_BYTES, RATIO_MAX * len(body)):
                    raise TooLarge(f"the body unpacks to more than {RATIO_MAX} times its size")
                parts.append(part)
    except _CORRUPT as exc:
        raise BadRequest(f"the body is not whole {encoding}: {exc}", field="content-encoding") from exc
    return b"".join(parts)
