"""I7: who is told to stop need not wait for a server that says nothing."""

import asyncio
import sys

from tests.support.worker_processes import STOP_TIMEOUT_S

START_LIMIT_S = 60.0


async def test_a_generator_that_connects_to_a_silent_broker_stops() -> None:
    came, over = asyncio.Event(), asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.healing.connect_to_broker",
            str(port),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(came.wait(), START_LIMIT_S)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S) == 0
        finally:
            over.set()
            if process.returncode is None:
                process.kill()
                await process.wait()
