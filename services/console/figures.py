"""What a console reports of itself."""

from codewell.infra.telemetry.rates import CounterRate, LatencyQuantile
from codewell.usage.reporter import Counters
from services.console.http.request_ids import REQUESTS, SECONDS


class ConsoleFigures:
    """Reads the metrics of this process. Call it with the time since the last call (s)."""

    def __init__(self) -> None:
        self._requests = CounterRate(REQUESTS)
        self._latency = LatencyQuantile(SECONDS)

    def __call__(self, elapsed_s: float) -> Counters:
        """The figures by name."""
        return {"http_requests_per_s": self._requests.per_s(elapsed_s), "http_p99_ms": self._latency.ms()}
