"""The house rules that no linter knows, as tests. Each rule is falsified by a sample, so that none is vacuous."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PENSTOCK_ROOTS = (
    "src/penstock",
    "services/ingest-gateway/penstock",
    "services/aggregator/penstock",
    "services/rater/penstock",
    "services/contracts/penstock",
)
TREES = ("src", "services", "loadtest", "examples")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Where a quantity or an amount of money is read, summed, priced or booked.
EXACT_FILES = (
    "penstock/kernel/money.py",
    "penstock/kernel/quantity.py",
    "penstock/kernel/price.py",
    "penstock/kernel/charge.py",
    "penstock/kernel/entry.py",
    "penstock/kernel/cell.py",
    "penstock/aggregator/extract.py",
    "penstock/aggregator/fold.py",
    "penstock/aggregator/tally.py",
    "penstock/rater/",
    "penstock/contracts/",
)
ADAPTERS = (
    "src/penstock/log/",
    "src/penstock/catalog/",
    "src/penstock/database/",
    "/store/",
    "/aggregator/faust_",
    "src/penstock/app/",
)
GENERATED = ("/penstock/wire/",)
DRIVERS = ("aiokafka", "chdb", "clickhouse_connect", "faust", "granian", "mode", "psycopg", "sqlite3")
OPTIONAL_DRIVERS = ("aiokafka", "psycopg")  # an install without them must still start
STORE_JSON = re.compile(r"JSONExtract|JSON_VALUE|JSON_QUERY|simpleJSON|visitParam", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
FLOATS = ("float", "float16", "float32", "float64", "double")


@dataclass(frozen=True)
class Source:
    """A file by its path from the repository's root, with a slash in front so that a folder's name is found whole."""

    path: str
    text: str

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text))) if self.path.endswith(".py") else []

    def within(self, parts: tuple[str, ...]) -> bool:
        return any(part in self.path for part in parts)


Complaints = Iterator[str]


def is_too_long(source: Source) -> Complaints:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX and not source.within(GENERATED):
        yield f"has {lines} lines, {FILE_LINES_MAX} is the limit"


def has_a_long_function(source: Source) -> Complaints:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"line {node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} is the limit"


def does_not_say_its_idea(source: Source) -> Complaints:
    for module in source.nodes[:1]:
        assert isinstance(module, ast.Module)
        if not (ast.get_docstring(module) or "").strip():
            yield "does not begin with a docstring that says its one idea"


def counts_in_floats(source: Source) -> Complaints:
    if not source.within(EXACT_FILES):
        return
    for node in source.nodes:
        match node:
            case ast.Constant(value=float()):
                yield f"line {node.lineno}: a float literal"
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in FLOATS:
                yield f"line {node.lineno}: {name}"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield f"line {node.lineno}: `/` where numbers are exact"


def reads_the_environment(source: Source) -> Complaints:
    if source.path == "/src/penstock/app/config.py":
        return
    for node in source.nodes:
        match node:
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in ("environ", "environb", "getenv"):
                yield f"line {node.lineno}: os.{name} is read in app/config.py only"


def is_unfinished(source: Source) -> Complaints:
    if source.within(GENERATED):
        return
    for number, line in enumerate(source.text.splitlines(), 1):
        for word in UNFINISHED.findall(line):
            yield f"line {number}: {word}"


def swallows_errors(source: Source) -> Complaints:
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"line {node.lineno}: a bare except"
        elif "Exception" in _names(node.type) and all(_is_idle(statement) for statement in node.body):
            yield f"line {node.lineno}: every error is passed over"


def _names(kind: ast.expr) -> set[str]:
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    return {"Exception" if name == "BaseException" else name for name in names}


def _is_idle(statement: ast.stmt) -> bool:
    is_ellipsis = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_ellipsis or isinstance(statement, ast.Pass | ast.Continue)


def imports_inside(source: Source) -> Complaints:
    for node in source.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for line, module in _imports(list(ast.walk(node))):
            if not (source.within(ADAPTERS) and module in OPTIONAL_DRIVERS):
                yield f"line {line}: {module} is imported inside {node.name}"


def imports_a_driver(source: Source) -> Complaints:
    if source.within(ADAPTERS):
        return
    for line, module in _imports(source.nodes):
        if module in DRIVERS:
            yield f"line {line}: {module} is imported outside adapters and app"


def _imports(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, (node.module or ".").partition(".")[0]


def asks_the_store_for_json(source: Source) -> Complaints:
    for number, line in enumerate(source.text.splitlines(), 1):
        for word in STORE_JSON.findall(line):
            yield f"line {number}: {word}, but one reader extracts every value"


def hides_the_other_roots(repository: Path) -> Complaints:
    for root in PENSTOCK_ROOTS:
        for path in (repository / root).rglob("__init__.py"):
            yield f"{path.relative_to(repository)} hides the other roots of the namespace"


def ships_no_types(repository: Path) -> Complaints:
    for root in PENSTOCK_ROOTS:
        for package in sorted((repository / root).iterdir()):
            if package.is_dir() and any(package.rglob("*.py")) and not (package / "py.typed").is_file():
                yield f"{package.relative_to(repository)} has no py.typed"


MONEY = "/src/penstock/kernel/money.py"
ANYWHERE = "/services/rater/penstock/rater/rate.py"
SHELL = "/src/penstock/app/runtime.py"
Rule = Callable[[Source], Complaints]

# Every rule with samples that it must refuse and samples that it must let pass.
RULES: dict[Rule, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    is_too_long: (
        [(ANYWHERE, "a = 1\n" * 401)],
        [(ANYWHERE, "a = 1\n" * 400), ("/src/penstock/wire/usage_pb2.py", "a = 1\n" * 401)],
    ),
    has_a_long_function: (
        [
            (ANYWHERE, "def f():\n" + "    a = 1\n" * 70),
            (ANYWHERE, "class A:\n  async def f():\n" + "    a = 1\n" * 70),
        ],
        [(ANYWHERE, "def f():\n" + "    a = 1\n" * 69)],
    ),
    does_not_say_its_idea: (
        [(ANYWHERE, ""), (ANYWHERE, "import os\n'''Late.'''"), (ANYWHERE, "''' '''")],
        [(ANYWHERE, "'''An idea.'''\nimport os")],
    ),
    counts_in_floats: (
        [
            (MONEY, "a = 0.5"),
            (MONEY, "a = 1e3"),
            (MONEY, "a = float(b)"),
            (MONEY, "def f(a: float) -> None: ..."),
            (MONEY, "def f() -> list[float | None]: ..."),
            (MONEY, "a = b.astype(np.float64)"),
            (MONEY, "a = b / 100"),
            (MONEY, "a /= b"),
            (ANYWHERE, "a = b / 100"),
            ("/services/contracts/penstock/contracts/store/sqlite.py", "a = 0.5"),
            ("/services/aggregator/penstock/aggregator/fold.py", "a = b / c"),
        ],
        [(MONEY, "a = b // c * 5 + f(float_hook=Decimal)"), (SHELL, "a = ms / 1000 + 0.5")],
    ),
    reads_the_environment: (
        [(SHELL, "a = os.environ['A']"), (SHELL, "a = os.getenv('A')"), (SHELL, "from os import environ as e")],
        [("/src/penstock/app/config.py", "a = os.environ['A']"), (SHELL, "a = 'os.environ'")],
    ),
    is_unfinished: (
        [(SHELL, "# TODO: later"), (SHELL, "raise NotImplementedError"), (SHELL, "a = 1  # XXX"), (SHELL, "'FIXME'")],
        [
            (SHELL, "TODOS = ['all done']"),
            ("/src/penstock/wire/usage_pb2_grpc.py", "raise NotImplementedError('Method not implemented!')"),
        ],
    ),
    swallows_errors: (
        [
            (SHELL, "try: f()\nexcept: g()"),
            (SHELL, "try: f()\nexcept Exception: pass"),
            (SHELL, "try: f()\nexcept (KeyError, BaseException) as e: ..."),
            (SHELL, "for a in b:\n  try: f()\n  except Exception: continue"),
        ],
        [(SHELL, "try: f()\nexcept KeyError: pass"), (SHELL, "try: f()\nexcept Exception as e: g(e)")],
    ),
    imports_inside: (
        [
            (SHELL, "def f():\n  import json"),
            (SHELL, "class A:\n  async def f():\n    if a:\n      from . import b"),
            (ANYWHERE, "def f():\n  import psycopg"),
        ],
        [
            (SHELL, "if TYPE_CHECKING:\n  import json"),
            ("/src/penstock/log/kafka.py", "def f():\n  from aiokafka.errors import KafkaError"),
        ],
    ),
    imports_a_driver: (
        [
            (ANYWHERE, "import sqlite3"),
            ("/services/aggregator/penstock/aggregator/consume.py", "from clickhouse_connect.driver import Client"),
            ("/src/penstock/web/route.py", "import granian.constants"),
            ("/loadtest/run.py", "import chdb"),
        ],
        [
            ("/src/penstock/catalog/sqlite.py", "import sqlite3"),
            ("/src/penstock/log/embedded.py", "import sqlite3"),
            ("/services/aggregator/penstock/aggregator/store/clickhouse.py", "import clickhouse_connect"),
            (SHELL, "from granian.server.embed import Server"),
        ],
    ),
    asks_the_store_for_json: (
        [
            (SHELL, "a = 'SELECT JSONExtractString(properties)'"),
            ("/services/aggregator/penstock/aggregator/store/schema.sql", "SELECT simpleJSONExtractInt(properties)"),
            (SHELL, "a = 'select json_value(p)'"),
            (SHELL, "a = 'visitParamHas(p)'"),
        ],
        [(SHELL, "a = json.loads(b)")],
    ),
}

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@functools.cache
def sources() -> list[Source]:
    files = [path for tree in TREES for path in (REPOSITORY / tree).rglob("*") if path.suffix in (".py", ".sql")]
    return [Source(f"/{path.relative_to(REPOSITORY).as_posix()}", path.read_text()) for path in sorted(files)]


@every_rule
def test_no_source_breaks_the_rule(rule: Rule) -> None:
    assert [f"{source.path} {complaint}" for source in sources() for complaint in rule(source)] == []


@every_rule
def test_the_rule_refuses_what_is_bad_and_passes_what_is_good(rule: Rule) -> None:
    bad, good = RULES[rule]

    assert [sample for sample in bad if not list(rule(Source(*sample)))] == []
    assert [sample for sample in good if list(rule(Source(*sample)))] == []


@pytest.mark.parametrize("part", [*(f"/{root}/" for root in PENSTOCK_ROOTS), *EXACT_FILES, "/loadtest/", "/examples/"])
def test_the_rules_are_held_against_every_part(part: str) -> None:
    assert [source.path for source in sources() if part in source.path]


def test_no_root_of_the_namespace_hides_the_others() -> None:
    assert list(hides_the_other_roots(REPOSITORY)) == []


def test_every_package_ships_its_types() -> None:
    assert list(ships_no_types(REPOSITORY)) == []


def test_a_package_marker_and_a_package_without_types_are_found(tmp_path: Path) -> None:
    for root in PENSTOCK_ROOTS:
        (tmp_path / root).mkdir(parents=True)
    package = tmp_path / PENSTOCK_ROOTS[0] / "kernel" / "deeper"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()

    assert list(hides_the_other_roots(tmp_path)) == [
        "src/penstock/kernel/deeper/__init__.py hides the other roots of the namespace"
    ]
    assert list(ships_no_types(tmp_path)) == ["src/penstock/kernel has no py.typed"]
