"""Settings that hold for every test: Hypothesis carries no stopwatch, since a busy machine is no bug.

Parts that tests need are fixtures in files of their own, started by the first test that asks.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ("kafka_part", "postgres_part")

settings.register_profile("penstock", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")
