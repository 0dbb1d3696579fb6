"""Control records in the order of the log: each takes effect once, and an overtaken one never."""

from __future__ import annotations

import msgspec

from penstock.kernel.control import Control, MetricArchived, MetricDefined
from penstock.kernel.meter import Metric


class Applied(msgspec.Struct):
    """Which control records a partition has seen: ids, and the highest sequence per subject."""

    ids: set[str]
    sequences: dict[str, int]

    def is_news(self, control: Control) -> bool:
        """Whether to apply it: a repeat or an overtaken one changes nothing. Remembers it."""
        if control.id in self.ids or control.sequence <= self.sequences.get(control.subject, -1):
            return False
        self.ids.add(control.id)
        self.sequences[control.subject] = control.sequence
        return True


def apply_definition(metrics: dict[str, Metric], control: Control) -> None:
    if isinstance(control, MetricDefined):
        metrics[control.metric.id] = control.metric
    elif isinstance(control, MetricArchived):
        metrics.pop(control.metric_id, None)
