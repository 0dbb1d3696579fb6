"""What a ClickHouse HTTP request asks for, whichever way its statement and its rows come."""

from __future__ import annotations

import pytest

from penstock.app.clickhouse_dev.statement import EngineError, Statement, read_statement


def read(query: str = "", body: bytes = b"", **headers: str) -> Statement:
    return read_statement(False, query, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"INSERT INTO t (a) FORMAT Native\n\x00\nFORMAT JSON"),
        ("query=INSERT+INTO+t+(a)+FORMAT+Native", b"\x00\nFORMAT JSON"),
        ("", b"  INSERT INTO t (a)\nFORMAT Native ;\r\n\x00\nFORMAT JSON"),
    ],
)
def test_rows_follow_the_format_of_their_insert(query: str, body: bytes) -> None:
    statement = read(query, body)

    assert statement.sql.split() == [b"INSERT", b"INTO", b"t", b"(a)"]
    assert (statement.format, statement.rows) == ("Native", b"\x00\nFORMAT JSON")


def test_an_insert_may_have_settings_and_names_that_look_like_words() -> None:
    statement = read("", b"INSERT INTO `select` (`values`) SETTINGS async_insert=0 FORMAT CSV\n1\n")

    assert statement.sql == b"INSERT INTO `select` (`values`) SETTINGS async_insert=0"
    assert (statement.format, statement.rows) == ("CSV", b"1\n")


@pytest.mark.parametrize(
    ("body", "format_"),
    [
        (b"SELECT 1", "TabSeparated"),
        (b"SELECT 1\n FORMAT Native", "Native"),
        (b"INSERT INTO t VALUES ('INSERT INTO t FORMAT CSV\n')", "TabSeparated"),
        (b"INSERT INTO t SELECT * FROM u FORMAT CSV", "CSV"),
    ],
)
def test_any_other_statement_is_the_engines_as_it_is(body: bytes, format_: str) -> None:
    statement = read("", body)

    assert (statement.sql, statement.rows, statement.format) == (body, None, format_)


def test_settings_and_parameters_are_told_from_what_the_interface_takes_for_itself() -> None:
    statement = read("database=d&session_id=s&wait_end_of_query=1&final=1&param_a=1%0A&param_b=&default_format=CSV")

    assert (statement.database, statement.format) == ("d", "CSV")
    assert (statement.settings, statement.parameters) == ({"final": "1"}, {"a": "1\n", "b": ""})


def test_headers_stand_behind_the_query_string() -> None:
    alone = read(x_clickhouse_database="d", x_clickhouse_format="JSON")
    behind = read("database=e&default_format=CSV", x_clickhouse_database="d", x_clickhouse_format="JSON")

    assert (alone.database, alone.format) == ("d", "JSON")
    assert (behind.database, behind.format) == ("e", "CSV")


def test_a_get_is_read_only_whatever_it_says() -> None:
    assert read_statement(True, "query=SELECT+1&readonly=0", {}, b"").settings == {"readonly": "2"}


FORM = b"""--x\r
Content-Disposition: form-data; name="query"\r
\r
SELECT {a:String}\r
--x\r
Content-Disposition: form-data; name="param_a"%s\r
\r
line\nline \xc3\xbc\r
--x--\r
"""


def test_a_form_brings_statement_and_parameters() -> None:
    statement = read("final=1", FORM % b"", content_type="multipart/form-data; boundary=x")

    assert (statement.sql, statement.settings) == (b"SELECT {a:String}", {"final": "1"})
    assert statement.parameters == {"a": "line\nline ü"}


def test_external_tables_and_compressed_blocks_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="external tables") as external:
        read("", FORM % b'; filename="rows"', content_type="multipart/form-data; boundary=x")
    with pytest.raises(EngineError, match="bodies are") as blocks:
        read("decompress=1", b"SELECT 1")

    assert (external.value.code, blocks.value.code) == (48, 48)
