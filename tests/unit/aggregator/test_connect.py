"""A ClickHouse server's URL: what is read from it, and what is refused before anything is connected."""

from __future__ import annotations

import pytest

from penstock.aggregator.store.connect import Address, parse_address, server


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("clickhouse://ch", Address("ch", 8123, False, "default", "", "default")),
        ("http://10.0.0.1:18123/usage", Address("10.0.0.1", 18123, False, "default", "", "usage")),
        ("https://ch/usage/", Address("ch", 8443, True, "default", "", "usage")),
        ("clickhouses://ann@ch", Address("ch", 8443, True, "ann", "", "default")),
        ("clickhouse://ann:p%40ss%2F@ch:9440/a%20b?secure=true", Address("ch", 9440, True, "ann", "p@ss/", "a b")),
        ("clickhouse://[::1]:8123/x?secure=0", Address("::1", 8123, False, "default", "", "x")),
    ],
)
def test_a_url_names_the_server_the_user_and_the_database(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize("url", ["", "ch:8123", "tcp://ch:9000", "clickhouse://", "clickhouse://ch?compress=lz4"])
def test_what_is_no_such_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="a ClickHouse URL"):
        server(url)


def test_an_address_is_shown_without_its_password() -> None:
    assert repr(parse_address("clickhouse://ann:secret@ch/usage")) == "http://ann@ch:8123/usage"
