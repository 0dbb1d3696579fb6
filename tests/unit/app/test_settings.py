"""Settings: one table, its page, what a role reads, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.app import settings
from penstock.app.adapters import kafka_settings
from penstock.app.cli import main
from penstock.app.config import Config, load

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"
KAFKA = "kafka://me:p%40ss@one:9092,two:9093/events"


def test_the_page_is_made_from_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"]) == 0

    assert capsys.readouterr().out == PAGE.read_text() == settings.page()


def test_every_setting_is_in_the_table() -> None:
    listed = {name for group in settings.GROUPS for name in group.help}

    assert listed == {field.name for field in msgspec.structs.fields(Config)}


def test_up_reads_everything_but_what_is_between_services() -> None:
    alone = {name for name in settings.of_role("aggregator") if name not in settings.of_role("up")}

    assert "event_log" in settings.of_role("up")
    assert alone == {
        *("owned_partitions", "kafka_session_timeout_ms", "fold_drain_ms_max"),
        *("gateway_rpc", "contracts_rpc", "key_age_ms_max"),
        *("rpc_port", "rpc_secret", "rpc_cert", "rpc_key", "rpc_ca", "rpc_timeout_ms", "rpc_drain_ms_max"),
    }


def test_an_option_wins_over_the_environment_and_that_over_the_roles_default() -> None:
    environment = {"PENSTOCK_HTTP_PORT": "1"}

    assert load({}, {}).http_port == 8600
    assert load({}, {}, "rater").http_port == 8620
    assert load(environment, {}, "rater").http_port == 1
    assert load(environment, {"http_port": "2"}, "rater").http_port == 2


def test_what_is_shown_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_RPC_SECRET", "secret-of-services")
    monkeypatch.setenv("PENSTOCK_BOOTSTRAP_API_KEY", "secret-of-the-operator")
    monkeypatch.setenv("PENSTOCK_EVENT_LOG", "kafka://me:secret-1@one:9092,two:9092/events")
    monkeypatch.setenv("PENSTOCK_TABLES", "postgresql:///db?host=/run&user=me&password=secret-2&port=1")

    assert main(["config", "gateway"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert not any("secret-" in line for line in lines)
    assert "PENSTOCK_RPC_SECRET=***" in lines
    assert "PENSTOCK_EVENT_LOG=kafka://me:***@one:9092,two:9092/events" in lines
    assert "PENSTOCK_TABLES=postgresql:///db?host=/run&user=me&password=***&port=1" in lines


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"event_log": "rabbit://here"}, "event_log must be embedded or start with kafka://"),
        ({"event_log": "embedded://here"}, "event_log must be embedded or start with kafka://"),
        ({"usage_store": "sqlite"}, "usage_store must be embedded or start with clickhouse://"),
        ({"tables": "mysql://here"}, "tables must be sqlite or start with postgresql://"),
        ({"rpc_port": "65536"}, "rpc_port must be from 0 to 65535"),
        ({"rpc_timeout_ms": "0"}, "rpc_timeout_ms must be at least 1"),
        ({"rpc_cert": "a", "rpc_key": "b"}, "rpc_ca, rpc_cert and rpc_key are given together"),
        ({"kafka_cert": "a"}, "kafka_cert and kafka_key are given together"),
        ({"log_level": "loud"}, "log_level must be one of DEBUG, INFO, WARNING, ERROR"),
        ({"owned_partitions": "0-2", "partitions": "2"}, "owned_partitions must be among the partitions 0 to 1"),
        ({"owned_partitions": "2-1", "partitions": "4"}, "owned_partitions must be among the partitions 0 to 3"),
        ({"owned_partitions": "one"}, "owned_partitions must be group, all, or as in 0,2-5"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load({}, options)


@pytest.mark.parametrize(
    ("text", "owned"), [("all", (0, 1, 2, 3, 4, 5)), ("3", (3,)), ("0,2-5", (0, 2, 3, 4, 5)), ("1-2, 2-3", (1, 2, 3))]
)
def test_an_aggregator_may_own_some_partitions_for_good(text: str, owned: tuple[int, ...]) -> None:
    assert load({}, {"owned_partitions": text, "partitions": 6}).partitions_owned() == owned


def test_an_aggregator_owns_what_the_group_gives_it_unless_told_otherwise() -> None:
    assert load({}, {"partitions": 6}, "aggregator").partitions_owned() is None


def test_a_kafka_address_names_brokers_topic_and_user() -> None:
    found = kafka_settings(load({}, {"event_log": KAFKA, "partitions": 4, "kafka_retention_hours": -1}))

    assert (found.bootstrap_servers, found.topic, found.partitions) == ("one:9092,two:9093", "events", 4)
    assert (found.sasl_username, found.sasl_password, found.retention_ms) == ("me", "p@ss", -1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gateway"], "only with a shared secret or with certificates"),
        (["rater", "--rpc-secret", "short"], "at least 16 characters"),
        (["gateway", "--rpc-secret", "long-enough-to-be-one"], "set event_log to kafka://"),
        (["aggregator", "--rpc-secret", "long-enough-to-be-one"], "set event_log to kafka://"),
    ],
)
def test_a_role_that_would_do_harm_is_refused_before_a_file_is_made(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"

    assert main([*arguments, "--data-dir", str(folder), "--http-port", "0"]) == 1

    assert reason in capsys.readouterr().out
    assert not folder.exists()
