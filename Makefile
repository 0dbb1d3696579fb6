# The habits. Everything a target needs is installed into .venv by the target itself.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# The first Python of at least 3.11 that can make a virtual environment; `make PYTHON=python3.13 venv` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo "$$python"; break; fi; done)

# Two stamps: what Penstock needs to run, and what its tests need on top. Both are stale when pyproject.toml is newer.
RUNTIME := $(VENV)/.runtime
COMPLETE := $(VENV)/.complete

# Two files of tests at a time: many tests wait for processes. ARGS="-n 0" runs one after the other.
SIDE_BY_SIDE := -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help venv demo up test test-fast lint faults bench bench-kafka bench-rater kafka clickhouse postgres proto clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## a small vendor's day from event to invoice, in one process
	@$(BIN)/python -m examples.demo $(ARGS)

up: $(RUNTIME) ## run Penstock here; options go in ARGS="--http-port 8600"
	@$(BIN)/penstock up $(ARGS)

test: lint ## lint, types, imports and every test
	@$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(ARGS)

test-fast: $(COMPLETE) ## the tests that take under two minutes
	@$(BIN)/python -m pytest -q -m 'not slow and not faults' $(SIDE_BY_SIDE) $(ARGS)

lint: $(COMPLETE) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

faults: $(COMPLETE) ## 3,000 seeds in virtual time, then real processes and brokers; ARGS="--from 17 --seeds 1" replays one seed
	@PYTHONPATH=tests:. $(BIN)/python -m simulation --jobs 2 $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python -m pytest -q -m faults tests/faults

bench: $(RUNTIME) ## load a fresh server over every protocol, verify it, print how fast it is
	@$(BIN)/python -m loadtest bench $(ARGS)

bench-kafka: $(COMPLETE) ## the same through Kafka and ClickHouse, a process for each service
	@$(BIN)/python -m loadtest bench-kafka $(ARGS)

bench-rater: $(RUNTIME) ## price columns, a customer and a book of 10,000 customers; no server
	@$(BIN)/python -m loadtest rater-bench $(ARGS)

kafka: $(COMPLETE) ## an Apache Kafka for development; ARGS="--brokers 3 --data-dir penstock-data/kafka"
	@$(BIN)/python -m deploy.dev.kafka $(ARGS)

clickhouse: $(RUNTIME) ## a ClickHouse for development, without Docker; ARGS="--port 8124"
	@$(BIN)/penstock clickhouse-dev --data-dir penstock-data/clickhouse $(ARGS)

postgres: $(RUNTIME) ## a PostgreSQL of this machine's packages; ARGS="--folder /var/tmp/penstock --port 5433"
	@$(BIN)/python -m deploy.dev.postgres $(ARGS)

proto: $(COMPLETE) ## make src/penstock/wire again from proto/
	@$(BIN)/python proto/generate.py

venv: $(COMPLETE) ## install everything into .venv

clean: ## remove .venv, caches and builds; data folders stay
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src services tests loadtest examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(RUNTIME): pyproject.toml
	@test -x $(BIN)/python || { \
		test -n "$(PYTHON)" || { echo "Penstock needs Python 3.11 or later with venv; none was found." >&2; exit 1; }; \
		echo "Making .venv with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV); }
	@echo "Installing Penstock into .venv (a minute or two the first time)"
	@$(PIP) install --upgrade 'pip>=25.1'  # the first that knows --group
	@$(PIP) install --editable .
	@$(BIN)/python -c "from penstock.gateway.loops import LOOPS; LOOPS.load()"  # else the first start of a gateway compiles
	@touch $@

$(COMPLETE): $(RUNTIME)
	@echo "Installing what the tests need into .venv"
	@$(PIP) install --editable . --group test --group lint
	@touch $@
