"""Connect to a broker as a generator does: `python -m tests.integration.healing.connect_to_broker PORT`."""

import asyncio
import sys

from codewell.infra.process.lifecycle import run
from codewell.infra.telemetry.health import Health
from services.generator import main
from services.generator.settings import GeneratorSettings


async def _connect(stop: asyncio.Event) -> None:
    async def fill(program_id: int) -> None:
        raise AssertionError(program_id)

    settings = GeneratorSettings(
        postgres_url="postgresql://localhost/none", kafka_bootstrap=f"127.0.0.1:{int(sys.argv[1])}"
    )
    await main._consume_events(settings, fill, Health(), stop)


if __name__ == "__main__":
    run(_connect)
