"""Content-Encoding: what is unpacked, what is refused, and that a bomb never becomes more than its limit."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import pytest
from backports import zstd

from penstock.gateway.encodings import RATIO_MAX, encoding_of, unpack
from penstock.kernel.problems import BadRequest, TooLarge, UnsupportedMedia

MIB = 1 << 20
TEXT = b"".join(b'{"transaction_id":"txn-%d"}\n' % number for number in range(50_000))
PACKED = {"gzip": gzip.compress(TEXT), "zstd": zstd.compress(TEXT)}


@pytest.mark.parametrize("name", PACKED)
def test_a_body_is_unpacked(name: str) -> None:
    assert unpack(PACKED[name], name, 32 * MIB) == TEXT
    assert unpack(PACKED[name], name, len(TEXT)) == TEXT


@pytest.mark.parametrize("name", PACKED)
def test_a_body_may_be_packed_in_parts(name: str) -> None:
    assert unpack(PACKED[name] * 3, name, 32 * MIB) == TEXT * 3


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("kept", [1, 5, 100, -100, -1])
def test_a_body_that_is_cut_is_refused(name: str, kept: int) -> None:
    with pytest.raises(BadRequest, match=f"not whole {name}"):
        unpack(PACKED[name][:kept], name, 32 * MIB)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("body", [b"{}", b"\x1f\x8b" + b"\xff" * 50, b"\x28\xb5\x2f\xfd" + b"\xff" * 50])
def test_what_was_never_packed_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(BadRequest, match=f"not whole {name}"):
        unpack(body, name, 32 * MIB)


@pytest.mark.parametrize("name", PACKED)
def test_a_body_with_a_changed_byte_in_it_is_refused(name: str) -> None:
    changed = bytearray(zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1}))
    if name == "gzip":
        changed = bytearray(PACKED[name])
    changed[len(changed) // 2] ^= 0x55
    with pytest.raises(BadRequest, match=f"not whole {name}"):
        unpack(bytes(changed), name, 32 * MIB)


@pytest.mark.parametrize("name", PACKED)
def test_more_than_the_limit_is_too_large(name: str) -> None:
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        unpack(PACKED[name], name, 1_000_000)


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_bomb_is_refused_before_it_takes_memory(name: str, compress: object) -> None:
    assert callable(compress)
    bomb = compress(b" " * (256 * MIB))
    tracemalloc.start()
    with pytest.raises(TooLarge, match=f"more than {RATIO_MAX} times"):
        unpack(bomb, name, 300 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < max(4 * MIB, (RATIO_MAX + 50) * len(bomb))


def test_a_small_body_may_be_of_any_ratio() -> None:
    assert unpack(gzip.compress(b" " * MIB), "gzip", 32 * MIB) == b" " * MIB


def test_a_zstd_body_may_not_ask_for_a_window_above_8_mib() -> None:
    noise = os.urandom(64 * 1024) * 320
    options = {
        int(zstd.CompressionParameter.window_log): 24,
        int(zstd.CompressionParameter.enable_long_distance_matching): 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(noise) + compressor.flush()
    with pytest.raises(BadRequest, match="not whole zstd"):
        unpack(body, "zstd", 64 * MIB)


@pytest.mark.parametrize("header", [None, "", "identity", " Identity "])
def test_a_body_may_be_as_it_is(header: str | None) -> None:
    assert encoding_of(header) is None


@pytest.mark.parametrize(
    ("header", "name"), [("gzip", "gzip"), ("GZIP", "gzip"), ("x-gzip", "x-gzip"), ("zstd", "zstd")]
)
def test_gzip_and_zstd_are_known(header: str, name: str) -> None:
    assert encoding_of(header) == name


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, gzip", "compress", "none"])
def test_another_encoding_is_refused_and_the_known_ones_are_named(header: str) -> None:
    with pytest.raises(UnsupportedMedia, match="gzip, zstd and identity"):
        encoding_of(header)
