"""Rates and latencies since the last look, from the metrics of this process."""

import math
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from codewell.infra.telemetry.metrics import BatchHistogram


class CounterRate:
    """How fast a counter grows, over all of its labels."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._last = self._total()

    def per_s(self, elapsed_s: float) -> float:
        """The rate (1/s) since the last call, which was `elapsed_s` ago."""
        before, self._last = self._last, self._total()
        return round((self._last - before) / elapsed_s, 2)

    def _total(self) -> float:
        [metric] = self._counter.collect()
        return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))


class LatencyQuantile:
    """The 99th percentile of what a histogram observed since the last look, over all of its labels."""

    _SHARE: Final = 0.99

    def __init__(self, histogram: Histogram | BatchHistogram) -> None:
        self._histogram = histogram
        self._last = self._cumulative()

    def ms(self) -> float | None:
        """The percentile (ms), to the precision of the buckets, linear within one. None: nothing was observed.

        The last bucket has no upper bound: its lower one is returned.
        """
        now = self._cumulative()
        before, self._last = self._last, now
        rank = self._SHARE * max((now[bound] - before.get(bound, 0.0) for bound in now), default=0.0)
        lower = below = 0.0
        for bound in sorted(now):
            count = now[bound] - before.get(bound, 0.0)
            if 0 < rank <= count:
                share = 0.0 if math.isinf(bound) else (rank - below) / (count - below)
                return round((lower + share * (bound - lower if share else 0.0)) * 1000, 1)
            lower, below = bound, count
        return None

    def _cumulative(self) -> dict[float, float]:
        """The number of observations up to each bound (s)."""
        found: dict[float, float] = {}
        for metric in self._histogram.collect():
            for sample in metric.samples:
                if sample.name.endswith("_bucket"):
                    bound = float(sample.labels["le"])
                    found[bound] = found.get(bound, 0.0) + sample.value
        return found


def by_label(gauge: Gauge, label: str) -> dict[str, float]:
    """The sums of a gauge's series by one label."""
    found: dict[str, float] = {}
    for metric in gauge.collect():
        for sample in metric.samples:
            found[sample.labels[label]] = found.get(sample.labels[label], 0.0) + sample.value
    return found
