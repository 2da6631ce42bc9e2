"""Runs a load in a process of its own: plan on standard input, result on standard output, both as JSON."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from codewell.errors import CodewellError


async def loaded(module: str, plan: Sequence[Any]) -> list[Any]:
    """The result of the module's load. Raises CodewellError, with its last log lines, when it failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, said = await process.communicate(json.dumps(plan).encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise CodewellError(f"The load broke off: {said.decode().strip().splitlines()[-1]}")
    seen: list[Any] = json.loads(out)
    return seen


def run(load: Callable[[list[Any]], Coroutine[Any, Any, Sequence[Any]]]) -> None:
    """Run as that process."""
    import uvloop

    given: list[Any] = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(load(given))
    json.dump(seen, sys.stdout)
