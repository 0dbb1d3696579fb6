"""The command line: `penstock up` runs the whole pipeline in this process, `penstock send` sends it events."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from penstock.app.audit_command import add_audit_command, audit
from penstock.app.clickhouse_dev.command import add_clickhouse_dev_command, clickhouse_dev
from penstock.app.config import HELP, PREFIX, Config, from_environment
from penstock.app.keys_command import add_keys_command, keys
from penstock.app.logs import configure
from penstock.app.rebuild_command import add_rebuild_command, rebuild
from penstock.app.runtime import run
from penstock.app.send import add_send_command, send
from penstock.kernel.problems import Problem, Refused

USAGE_ERROR, REFUSED = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 after a clean stop, 1 for what was refused by name, 2 for a wrong setting or option."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return USAGE_ERROR
    if given.command == "send":
        return send(given)
    if given.command == "keys":
        return keys(given)
    if given.command == "clickhouse-dev":
        return clickhouse_dev(given)
    if given.command == "audit":
        return audit(given)
    if given.command == "rebuild":
        return rebuild(given)
    try:
        config = from_environment(vars(given))
    except ValueError as exc:
        _say(f"penstock: {exc}")
        return USAGE_ERROR
    configure(config.log_level, config.log_format)
    try:
        run(config, _say)
    except (Problem, Refused, OSError) as exc:
        _say(f"penstock: {exc}")
        return REFUSED
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="penstock",
        description="Usage metering and billing: events in, each counted exactly once, priced, drawn down, invoiced.",
        epilog=f"Every option can also be set in the environment as {PREFIX}<OPTION>, e.g. {PREFIX}HTTP_PORT.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {version('penstock')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    up = commands.add_parser(
        "up",
        help="run the whole pipeline in this process",
        description="Run gateway, log, aggregator, rater and contracts in one process until SIGTERM.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in msgspec.structs.fields(Config):
        _add_option(up, field.name, field.default)
    add_send_command(commands)
    add_keys_command(commands)
    add_clickhouse_dev_command(commands)
    add_audit_command(commands)
    add_rebuild_command(commands)
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    shown = "" if default is None or default is False else f", default {default}"
    text = f"{HELP[name]} ({PREFIX}{name.upper()}{shown})"
    if default is False:
        parser.add_argument(flag, dest=name, action="store_const", const=True, help=text)
    else:
        parser.add_argument(flag, dest=name, help=text, metavar=name.rsplit("_", 1)[-1].upper())


if __name__ == "__main__":
    sys.exit(main())
