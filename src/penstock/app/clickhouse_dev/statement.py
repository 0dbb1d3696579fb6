"""What a ClickHouse HTTP request asks for: read from its query string, its headers and its body, without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

import msgspec

NOT_IMPLEMENTED = 48
DEFAULT_FORMAT = "TabSeparated"
# What the HTTP interface takes for itself; every other name in the query string is a setting of the engine.
_OF_THE_INTERFACE = frozenset(
    (
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "role",
        "query_id",
        "stacktrace",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "enable_http_compression",
        "http_zlib_compression_level",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    )
)
# Rows follow the line that names their format. VALUES and SELECT are read by the engine itself.
_INSERT = re.compile(rb"\s*(INSERT\s.+?)\sFORMAT\s+(\w+)[ \t;]*(?:\r?\n|\Z)", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(rb"`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_OWN_ROWS = re.compile(rb"\b(?:SELECT|VALUES|INFILE)\b", re.IGNORECASE)
_ANSWER_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)[\s;]*\Z", re.IGNORECASE)


class EngineError(Exception):
    """What ClickHouse answers instead of a result: its number and the text that a client sees."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Statement(msgspec.Struct, frozen=True):
    """One statement. `rows` are the bytes of an INSERT in `format`; without them `format` is that of the answer."""

    sql: bytes
    rows: bytes | None
    format: str
    database: str
    settings: dict[str, str]
    parameters: dict[str, str]


def read_statement(is_get: bool, query: str, headers: Mapping[str, str], body: bytes) -> Statement:
    """The statement of a request; header names are in lower case, `body` is not compressed any more.

    Raise `EngineError` for what this front does not do.
    """
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if headers.get("content-type", "").startswith("multipart/form-data"):
        fields |= _form(headers["content-type"], body)
        body = b""
    if fields.get("decompress", "0") != "0" or fields.get("compress", "0") != "0":
        raise EngineError(NOT_IMPLEMENTED, "Code: 48. DB::Exception: blocks are not compressed here, bodies are")
    settings = {k: v for k, v in fields.items() if k not in _OF_THE_INTERFACE and not k.startswith("param_")}
    if is_get:
        settings["readonly"] = "2"  # as ClickHouse does: a GET changes nothing
    whole = b"\n".join(part for part in (fields.get("query", "").encode(), body) if part)
    sql, rows, format_ = _split(whole)
    default = fields.get("default_format") or headers.get("x-clickhouse-format") or DEFAULT_FORMAT
    return Statement(
        sql,
        rows,
        format_ or default,
        fields.get("database") or headers.get("x-clickhouse-database", ""),
        settings,
        {name[len("param_") :]: value for name, value in fields.items() if name.startswith("param_")},
    )


def _split(whole: bytes) -> tuple[bytes, bytes | None, str | None]:
    """An INSERT, its rows and their format; or any other statement and the format that it names."""
    insert = _INSERT.match(whole)
    if insert is not None and not _OWN_ROWS.search(_QUOTED.sub(b"", insert[1])):
        return insert[1], whole[insert.end() :], insert[2].decode()
    named = _ANSWER_FORMAT.search(whole)
    return whole, None, named[1].decode() if named else None


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, as a client sends them whose parameters are too long for a URL."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise EngineError(NOT_IMPLEMENTED, "Code: 48. DB::Exception: external tables are not taken here")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        fields[str(part.get_param("name", header="content-disposition"))] = payload.decode()
    return fields
