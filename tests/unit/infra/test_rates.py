"""Rates and latencies that a worker reads from its own metrics."""

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from codewell.infra.telemetry.metrics import BatchHistogram
from codewell.infra.telemetry.rates import CounterRate, LatencyQuantile, by_label


def test_a_rate_is_over_all_labels_since_the_last_look() -> None:
    counter = Counter("rates_test", "-", ["what"], registry=CollectorRegistry())
    counter.labels("a").inc(100)
    rate = CounterRate(counter)
    counter.labels("a").inc(10)
    counter.labels("b").inc(5)

    assert rate.per_s(5) == 3.0
    assert rate.per_s(5) == 0.0


def test_the_99th_percentile_is_of_what_came_since_the_last_look() -> None:
    histogram = Histogram("p99_test", "-", ["route"], buckets=(0.1, 0.2, 1), registry=CollectorRegistry())
    histogram.labels("a").observe(0.9)
    latency = LatencyQuantile(histogram)
    assert latency.ms() is None

    for _ in range(100):
        histogram.labels("b").observe(0.15)
    assert latency.ms() == 199.0

    histogram.labels("b").observe(5)
    assert latency.ms() == 1000.0
    assert latency.ms() is None


def test_a_histogram_of_batches_has_one_too() -> None:
    histogram = BatchHistogram("p99_batch_test", "-", (0.01, 0.1))
    latency = LatencyQuantile(histogram)
    histogram.observe(np.array([0.005] * 98 + [0.05] * 2))

    assert latency.ms() == 55.0


def test_lag_is_summed_by_topic() -> None:
    gauge = Gauge("lag_test", "-", ["topic", "partition"], registry=CollectorRegistry())
    gauge.labels("t", 0).set(3)
    gauge.labels("t", 1).set(4)
    gauge.labels("u", 0).set(0)

    assert by_label(gauge, "topic") == {"t": 7.0, "u": 0.0}
