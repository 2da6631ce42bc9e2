"""`python -m benchmarks.tests.e2e NAME` runs a benchmark on a Kafka that starts fast.

That of the benchmarks optimizes itself for a minute, on the processor that the tests need.
"""

from benchmarks import fresh
from benchmarks.commands import bench
from services.standalone.kafka_config import KafkaSettings

if __name__ == "__main__":
    fresh.KAFKA = KafkaSettings()  # type: ignore[misc]  # final for the benchmarks themselves
    bench(prog_name="codewell bench")
