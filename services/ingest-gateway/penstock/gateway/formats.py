"""The formats in which events are taken, by the content type that names them."""

from __future__ import annotations

from enum import Enum

from penstock.gateway.arrow_stream import decode_arrow
from penstock.gateway.decode import Decoded, decode
from penstock.gateway.ndjson import decode_ndjson
from penstock.kernel.problems import UnsupportedMedia


class Format(Enum):
    """How the events of a body are written."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    ARROW = "application/vnd.apache.arrow.stream"


_DECODERS = {Format.JSON: decode, Format.NDJSON: decode_ndjson, Format.ARROW: decode_arrow}
_NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
# What JSON is sent as: by SDKs, by curl without a header, by scripts.
_JSON_TYPES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "text/plain",
    "*/*",
    "",
)


def format_of(content_type: str | None) -> Format:
    """Raise `UnsupportedMedia` for a type that is none of events."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type in _JSON_TYPES or media_type.endswith("+json"):
        return Format.JSON
    if media_type in _NDJSON_TYPES:
        return Format.NDJSON
    if media_type == Format.ARROW.value:
        return Format.ARROW
    accepted = ", ".join(each.value for each in Format)
    raise UnsupportedMedia(f"events are taken as {accepted}, not as {media_type}", field="content-type")


def decode_body(form: Format, body: bytes, events_max: int, bytes_max: int) -> Decoded:
    """Raise `BadRequest` or `TooLarge` for the request as a whole."""
    return _DECODERS[form](body, events_max, bytes_max)
