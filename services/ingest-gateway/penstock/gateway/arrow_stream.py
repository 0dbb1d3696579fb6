"""From an Arrow IPC stream to columns: no Python statement per event where all are good.

A stream whose columns are missing, surplus or of another type is refused as a whole, naming the column; a null or
properties that are no JSON reject their event alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.gateway.arrow_frames import rows_of
from penstock.gateway.columns import Columns, code, cuts_of, join
from penstock.gateway.decode import UNREADABLE, Decoded, Refusal, refuse_too_large, refuse_too_many, why_unreadable
from penstock.gateway.loops import LOOPS
from penstock.gateway.timestamps import Times, parse_times
from penstock.kernel.problems import BadRequest, TooLarge

COLUMNS = ("transaction_id", "customer_id", "event_type", "timestamp", "properties")
US_PER_S = 1_000_000
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARIES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_VIEWS = (pa.types.is_string_view, pa.types.is_binary_view)
# No time that is taken is near it, and times a million it is still a 64-bit number.
_FAR_S = 2**62 // US_PER_S
_UNITS_PER_S = {"s": 1, "ms": 1_000, "us": US_PER_S, "ns": 1_000 * US_PER_S}
_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)

_MANY = msgspec.json.Decoder(list[msgspec.Raw])
_ONE = msgspec.json.Decoder(msgspec.Raw)

Mask = npt.NDArray[np.bool_]


def decode_arrow(body: bytes, events_max: int, bytes_max: int) -> Decoded:
    """Raise `BadRequest` for what is no whole stream of the columns that are taken, `TooLarge` for too many bytes."""
    refuse_too_large(len(body), bytes_max)
    refuse_too_many(rows_of(body, bytes_max), events_max)
    try:
        with pa.ipc.open_stream(body, options=_OPTIONS) as reader:
            check_schema(reader.schema)
            batches = [batch.select(COLUMNS) for batch in reader]
        for batch in batches:
            batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise BadRequest(f"the Arrow stream is corrupt: {_first_line(exc)}") from exc
    edges = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()
    parts = [_decode_batch(batch, edge, bytes_max) for batch, edge in zip(batches, edges, strict=False)]
    if not parts:
        return Decoded([], range(0))
    events = Columns.concat([columns for columns, _, _ in parts])
    refusals = tuple(itertools.chain.from_iterable(refusals for _, _, refusals in parts))
    if not refusals:
        return Decoded(events, range(len(events)))
    return Decoded(events, np.concatenate([indexes for _, indexes, _ in parts]).tolist(), refusals)


def check_schema(schema: pa.Schema) -> None:
    """Raise `BadRequest` naming the first column that is missing, there twice, surplus or of another type."""
    for name in COLUMNS:
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            raise BadRequest(f"the column {name} is {'there twice' if places else 'missing'}", field=name)
    for field in schema:
        if field.name not in COLUMNS:
            raise BadRequest(
                f"the column {field.name} is not one of {', '.join(COLUMNS)}: write it into properties",
                field=field.name,
            )
        wanted = _wanted(field.name, field.type)
        if wanted is not None:
            raise BadRequest(f"the column {field.name} is {field.type}, it must be {wanted}", field=field.name)


def _wanted(name: str, kind: pa.DataType) -> str | None:
    """What the column's type must be, where it is not."""
    if name == "properties":
        return None if _is(kind, _TEXTS + _BINARIES) else "string or binary, JSON objects"
    text = _is(kind.value_type if pa.types.is_dictionary(kind) else kind, _TEXTS)
    if name != "timestamp":
        return None if text else "string, or a dictionary of strings"
    if pa.types.is_timestamp(kind):
        return None if kind.tz is not None else "a timestamp with a time zone, such as UTC"
    return None if text else "a timestamp with a time zone, or RFC 3339 strings"


def _is(kind: pa.DataType, wanted: Sequence[Callable[[pa.DataType], bool]]) -> bool:
    return any(test(kind) for test in wanted)


def _decode_batch(
    batch: pa.RecordBatch, edge: int, bytes_max: int
) -> tuple[Columns, npt.NDArray[np.int64], list[Refusal]]:
    """The good events of a batch that starts at row `edge` of the request, their rows, and the refusals."""
    columns = {name: _without_views(batch.column(name), bytes_max) for name in COLUMNS}
    reasons: dict[int, str] = {}
    for name, column in columns.items():
        for row in np.flatnonzero(_nulls(column)).tolist():
            reasons.setdefault(row, f"{name} is null")
    refusals = [Refusal(edge + row, None, reason) for row, reason in reasons.items()]
    rows, columns = _leave_out(reasons, np.arange(batch.num_rows), columns)
    properties, bad = _read_properties(columns.pop("properties").cast(pa.binary()))
    refusals += [Refusal(edge + int(rows[row]), None, reason) for row, reason in bad.items()]
    rows, columns = _leave_out(bad, rows, columns)
    times_us, bad_times = _read_times(columns["timestamp"], bytes_max)
    events = Columns(
        _flat(columns["transaction_id"], bytes_max),
        _coded(columns["customer_id"]),
        _coded(columns["event_type"]),
        times_us,
        bad_times,
        properties,
    )
    return events, rows + edge, refusals


def _leave_out(
    bad: Mapping[int, str], rows: npt.NDArray[np.int64], columns: dict[str, pa.Array]
) -> tuple[npt.NDArray[np.int64], dict[str, pa.Array]]:
    if not bad:
        return rows, columns
    good = np.delete(np.arange(len(rows)), list(bad))
    return rows[good], {name: column.take(pa.array(good)) for name, column in columns.items()}


def _nulls(column: pa.Array) -> Mask:
    nulls: Mask = column.is_null().to_numpy(zero_copy_only=False)
    if isinstance(column, pa.DictionaryArray) and column.dictionary.null_count:
        null_texts = column.dictionary.is_null().take(column.indices).fill_null(True)
        nulls = nulls | null_texts.to_numpy(zero_copy_only=False)
    return nulls


def _without_views(column: pa.Array, bytes_max: int) -> pa.Array:
    """The column with plain texts for views, which few of Arrow's functions take."""
    if isinstance(column, pa.DictionaryArray):
        texts = _without_views(column.dictionary, bytes_max)
        return column if texts is column.dictionary else pa.DictionaryArray.from_arrays(column.indices, texts)
    if not _is(column.type, _VIEWS):
        return column
    # Four numbers a view, its length is the first. A caller's buffer may be longer than what it holds.
    views = np.frombuffer(column.buffers()[1], "<i4", 4 * len(column), 16 * column.offset)
    _refuse_unpacked(views[::4], bytes_max)
    return column.cast(pa.string() if pa.types.is_string_view(column.type) else pa.binary())


def _flat(column: pa.Array, bytes_max: int) -> pa.StringArray:
    if isinstance(column, pa.DictionaryArray):
        lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)
        _refuse_unpacked(lengths[column.indices.to_numpy(zero_copy_only=False)], bytes_max)
    return column.cast(pa.string())


def _refuse_unpacked(lengths: npt.NDArray[Any], bytes_max: int) -> None:
    """In a dictionary or a view a few bytes may stand for a text many times over: not too many."""
    if int(lengths.sum(dtype=np.int64)) > bytes_max:
        raise TooLarge(f"a column of the Arrow stream has more than {bytes_max} bytes of text")


def _coded(column: pa.Array) -> pa.DictionaryArray:
    if not isinstance(column, pa.DictionaryArray):
        return column.cast(pa.string()).dictionary_encode()
    # A writer may repeat a text in its dictionary; ours has each once.
    texts = column.dictionary.cast(pa.string()).dictionary_encode(null_encoding="encode")
    codes = texts.indices.to_numpy(zero_copy_only=False)[column.indices.to_numpy(zero_copy_only=False)]
    return code(codes, texts.dictionary)


def _read_times(column: pa.Array, bytes_max: int) -> tuple[Times, dict[int, str]]:
    if not pa.types.is_timestamp(column.type):
        return parse_times(_flat(column, bytes_max))
    per_s = _UNITS_PER_S[column.type.unit]
    times: Times = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if per_s >= US_PER_S:
        return times // (per_s // US_PER_S), {}
    return np.clip(times, -_FAR_S * per_s, _FAR_S * per_s) * (US_PER_S // per_s), {}


def _read_properties(column: pa.BinaryArray) -> tuple[pa.BinaryArray, dict[int, str]]:
    """The texts, each checked to be JSON by itself, and by row why one is none and left out."""
    compiled, cuts = LOOPS.compiled, cuts_of(column)
    if cuts is None or (compiled is not None and compiled.values(*cuts)):
        return column, {}
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column), b",")
    try:
        texts = _MANY.decode(b"".join((b"[", joined[0].as_buffer(), b"]")))
    except UNREADABLE:
        texts = []
    # As many values as texts, and each as long: then nothing stands between them and the commas are those put here.
    # A text such as `{},{}` or half of an object shows in one of the two.
    if len(texts) == len(column):
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if np.array_equal(lengths, pc.binary_length(column).to_numpy(zero_copy_only=False)):
            return column, {}
    return _judge_properties(column.to_pylist())


def _judge_properties(texts: Sequence[bytes]) -> tuple[pa.BinaryArray, dict[int, str]]:
    good: list[bytes] = []
    reasons: dict[int, str] = {}
    for row, text in enumerate(texts):
        try:
            good.append(bytes(_ONE.decode(text)))
        except UNREADABLE as exc:
            reasons[row] = f"properties are not JSON: {why_unreadable(exc)}"
    return join(good), reasons


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
