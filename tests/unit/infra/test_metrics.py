import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from codewell.infra.telemetry.metrics import BatchHistogram

BOUNDS_S = (0.01, 0.5, 1, 60)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.02, 0.5, 0.7, 1.0, 59.5, 60.0, 61.0, 1e6]))))
def test_many_times_at_once_are_what_they_are_one_by_one(batches: list[list[float]]) -> None:
    registry = CollectorRegistry()
    one_by_one = Histogram("codewell_test_seconds", "As the library counts.", buckets=BOUNDS_S, registry=registry)
    at_once = BatchHistogram("codewell_test_seconds", "As the library counts.", BOUNDS_S)
    try:
        for times_s in batches:
            at_once.observe(np.array(times_s, np.float64))
            for time_s in times_s:
                one_by_one.observe(time_s)
        [expected], [found] = registry.collect(), at_once.collect()
        wanted = {(s.name, s.labels.get("le")): s.value for s in expected.samples if not s.name.endswith("_created")}
        told = {(s.name, s.labels.get("le")): s.value for s in found.samples}
        assert told == pytest.approx(wanted)
        assert (found.name, found.type) == (expected.name, expected.type)
    finally:
        REGISTRY.unregister(at_once)
