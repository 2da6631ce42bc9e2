"""A process that owns a stack until it is killed: `python -m ... HOME`."""

import asyncio
import sys
from pathlib import Path

from services.standalone.home import Endpoints
from services.standalone.servers import running_servers
from tests.support.postgres_settings import FOR_TESTS


async def main(path: Path) -> None:
    async with running_servers(path, FOR_TESTS) as servers:
        servers.home.write_endpoints(
            Endpoints(
                postgres_url=servers.postgres.url,
                kafka_bootstrap=servers.kafka.bootstrap,
                api_url="http://127.0.0.1:1",
            )
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
