"""Metrics of every process: its build info, and a histogram that records many observations in one call."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

import numpy as np
import prometheus_client
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


def configure(service: str) -> None:
    """Export this process's service name and version as build info."""
    # The `_created` series would double the number of series, and no dashboard or alert uses them.
    prometheus_client.disable_created_metrics()
    build = prometheus_client.Info("codewell_build", "Which service of which version this is.")
    build.info({"service": service, "version": version("codewell"), "python": platform.python_version()})


class BatchHistogram(Collector):
    """A histogram that records thousands of times in one call; one by one, each would cost a microsecond."""

    def __init__(self, name: str, documentation: str, buckets_s: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(buckets_s)
        self._counts: NDArray[np.int64] = np.zeros(len(buckets_s) + 1, np.int64)
        self._sum_s = 0.0
        prometheus_client.REGISTRY.register(self)

    def observe(self, times_s: NDArray[np.float64]) -> None:
        """Record these times (s)."""
        # A time equal to a bucket's upper bound belongs to that bucket.
        places = np.searchsorted(self._bounds, times_s, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum_s += float(times_s.sum())

    def collect(self) -> Iterable[Metric]:
        """Return the current histogram."""
        yield HistogramMetricFamily(self._name, self._documentation, list(self._buckets()), self._sum_s)

    def _buckets(self) -> Iterator[tuple[str, float]]:
        for bound, count in zip((*self._bounds, np.inf), self._counts.cumsum(), strict=True):
            yield floatToGoString(bound), float(count)
