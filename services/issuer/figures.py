"""What an issuer reports of itself."""

from codewell.infra.kafka.lag import LAG
from codewell.infra.telemetry.rates import CounterRate, LatencyQuantile, by_label
from codewell.usage.reporter import Counters
from services.issuer.batch import ANSWER_SECONDS, CLAIM_SECONDS
from services.issuer.batch_publisher import ANSWERS, DEAD_LETTERS, RETRIES
from services.issuer.worker import REQUESTS


class IssuerFigures:
    """Reads the metrics of this process. Call it with the time since the last call (s)."""

    def __init__(self) -> None:
        counters = {"requests": REQUESTS, "answers": ANSWERS, "retries": RETRIES, "dead_letters": DEAD_LETTERS}
        self._rates = {f"{name}_per_s": CounterRate(counter) for name, counter in counters.items()}
        self._latencies = {
            "answer_p99_ms": LatencyQuantile(ANSWER_SECONDS), "claim_p99_ms": LatencyQuantile(CLAIM_SECONDS),
        }  # fmt: skip

    def __call__(self, elapsed_s: float) -> Counters:
        """The figures by name."""
        return {
            **{name: rate.per_s(elapsed_s) for name, rate in self._rates.items()},
            **{name: latency.ms() for name, latency in self._latencies.items()},
            "lag": by_label(LAG, "topic"),
        }
