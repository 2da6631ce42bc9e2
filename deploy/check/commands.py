"""Runs programs and returns what they said."""

import asyncio
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from deploy.check.report import DoesNotHold

COMMAND_TIMEOUT_S = 60.0
_SAID_MAX = 2_000


async def run(
    *words: str | Path,
    timeout_s: float = COMMAND_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
) -> str:
    """Its standard output. `env` is added to this process's; `text` is its standard input.

    Raises DoesNotHold with what it said when it fails or takes longer.
    """
    returncode, out, said = await result(*words, timeout_s=timeout_s, env=env, cwd=cwd, text=text)
    if returncode != 0:
        raise DoesNotHold(f"{shlex.join(map(str, words))} ended with {returncode}:\n{said[-_SAID_MAX:]}")
    return out


async def result(
    *words: str | Path,
    timeout_s: float = COMMAND_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
) -> tuple[int, str, str]:
    """Its exit status, its standard output, and its standard error. Raises DoesNotHold when it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, said = await process.communicate(None if text is None else text.encode())
    except TimeoutError:
        raise DoesNotHold(f"{shlex.join(map(str, words))} took longer than {timeout_s:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), said.decode(errors="replace")
