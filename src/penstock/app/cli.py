"""The command line: `penstock up` runs the whole pipeline in this process, a role's name runs that role alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from penstock.app.audit_command import add_audit_command, audit
from penstock.app.backtest_command import add_backtest_command, backtest
from penstock.app.clickhouse_dev.command import add_clickhouse_dev_command, clickhouse_dev
from penstock.app.config import PREFIX, Config, from_environment
from penstock.app.keys_command import add_keys_command, keys
from penstock.app.logs import configure
from penstock.app.price_command import add_price_command, price
from penstock.app.quarantine_command import add_quarantine_command, quarantine
from penstock.app.rebuild_command import add_rebuild_command, rebuild
from penstock.app.repartition_command import add_repartition_command, repartition_command
from penstock.app.runtime import run
from penstock.app.send import add_send_command, send
from penstock.app.settings import AGGREGATOR, CONTRACTS, GATEWAY, RATER, ROLES, UP, default_of, of_role, page, shown
from penstock.app.wiring import ASSEMBLIES
from penstock.kernel.problems import Problem, Refused

USAGE_ERROR, REFUSED = 2, 1
CONFIG = "config"
_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "send": send,
    "keys": keys,
    "clickhouse-dev": clickhouse_dev,
    "audit": audit,
    "rebuild": rebuild,
    "quarantine": quarantine,
    "repartition": repartition_command,
    "price": price,
    "backtest": backtest,
}
_ROLE_HELP = {
    UP: ("run the whole pipeline in this process", "gateway, log, aggregator, rater and contracts in one process"),
    GATEWAY: ("run the gateway by itself", "the gateway, which takes events and forwards what it does not own"),
    AGGREGATOR: ("run an aggregator by itself", "an aggregator, which folds its partitions and answers usage"),
    RATER: ("run the rater by itself", "the rater, which prices usage"),
    CONTRACTS: ("run the contracts service by itself", "the contracts service, which keeps balances and invoices"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 after a clean stop, 1 for what was refused by name, 2 for a wrong setting or option."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return USAGE_ERROR
    if given.command in _COMMANDS:
        return _COMMANDS[given.command](given)
    if given.command == CONFIG and given.markdown:
        _say(page().rstrip())
        return 0
    role = given.role if given.command == CONFIG else given.command
    try:
        config = from_environment(vars(given), role)
    except ValueError as exc:
        _say(f"penstock: {exc}")
        return USAGE_ERROR
    if given.command == CONFIG:
        _say("\n".join(shown(config, role)))
        return 0
    return _run(role, config)


def _run(role: str, config: Config) -> int:
    configure(config.log_level, config.log_format)
    try:
        run(config, ASSEMBLIES[role], _say)
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
    for role, (summary, what) in _ROLE_HELP.items():
        command = commands.add_parser(role, help=summary, description=f"Run until SIGTERM: {what}.")
        for name, text in of_role(role).items():
            _add_option(command, name, text, default_of(name, role))
    shown_config = commands.add_parser(
        CONFIG,
        help="print the settings that a role would run with",
        description="Print the settings of a role as the environment and the defaults make them, without secrets.",
    )
    shown_config.add_argument("role", nargs="?", choices=ROLES, default=UP, help="whose settings (default: up)")
    shown_config.add_argument("--markdown", action="store_true", help="print docs/settings.md: every setting there is")
    add_send_command(commands)
    add_keys_command(commands)
    add_clickhouse_dev_command(commands)
    add_audit_command(commands)
    add_rebuild_command(commands)
    add_quarantine_command(commands)
    add_repartition_command(commands)
    add_price_command(commands)
    add_backtest_command(commands)
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, text: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    shown_default = "" if default is None or default is False else f", default {default}"
    text = f"{text} ({PREFIX}{name.upper()}{shown_default})".replace("%", "%%")
    if default is False:
        parser.add_argument(flag, dest=name, action="store_const", const=True, help=text)
    else:
        parser.add_argument(flag, dest=name, help=text, metavar=name.rsplit("_", 1)[-1].upper())


if __name__ == "__main__":
    sys.exit(main())
