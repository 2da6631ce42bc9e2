"""Runs a command of `codewell` in this process, for tests of its effects and output.

A process of its own takes a second to start. Tests that need a real one use one: those of installation and start,
signals, prompts, and standard streams that are closed.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner

from services.cli import codewell as program
from tests.support.command_result import Said

# The streams, the environment and the working directory belong to the whole process.
_one_at_a_time = threading.Lock()


async def codewell(*words: str, env: Mapping[str, str], cwd: Path, stdin: str | None = None) -> Said:
    """Run one command to its end, in a thread, as each command has an event loop of its own."""
    return await asyncio.to_thread(_invoked, words, env, cwd, stdin)


def _invoked(words: tuple[str, ...], env: Mapping[str, str], cwd: Path, stdin: str | None) -> Said:
    hidden = dict.fromkeys(name for name in os.environ if name not in env)
    with _one_at_a_time, contextlib.chdir(cwd):
        result = CliRunner().invoke(program, words, input=stdin, env={**hidden, **env}, prog_name="codewell")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)
