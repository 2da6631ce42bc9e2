"""What a generator reports of itself."""

from codewell.infra.kafka.lag import LAG
from codewell.infra.telemetry.rates import CounterRate, by_label
from codewell.usage.reporter import Counters
from services.generator.archiver import WAITING
from services.generator.filler import MADE
from services.generator.profile_reader import EVENTS
from services.generator.remote_receiver import RECEIVED
from services.generator.wake_ups import WAKE_UPS


class GeneratorFigures:
    """Reads the metrics of this process. Call it with the time since the last call (s)."""

    def __init__(self) -> None:
        counters = (
            ("codes_made", MADE),
            ("remote_codes", RECEIVED),
            ("wake_ups", WAKE_UPS),
            ("profile_events", EVENTS),
        )
        self._rates = {f"{name}_per_s": CounterRate(counter) for name, counter in counters}

    def __call__(self, elapsed_s: float) -> Counters:
        """The figures by name."""
        return {
            **{name: rate.per_s(elapsed_s) for name, rate in self._rates.items()},
            "lag": by_label(LAG, "topic"),
            "archive_waiting": by_label(WAITING, "why"),
        }
