"""What a process writes to its log, whoever writes it, and what it does not."""

import json
import subprocess
import sys
from typing import Any

import pytest

CODE = "smFg-2497-DMPB"
# A process of its own, as logging is set up once for all of it. Each writes the code in another way.
SETUP = f"""
import asyncio, logging, sys, threading, warnings
import asyncpg, structlog
from pydantic import BaseModel
from codewell.errors import CodeUnknown, StackUnavailable
from codewell.infra.telemetry.logs import configure
configure("issuer", "debug")
log = structlog.get_logger()
CODE = {CODE!r}
class Model(BaseModel):
    count: int
def unique():
    error = asyncpg.UniqueViolationError("duplicate key value violates unique constraint \\"code_once\\"")
    error.detail, error.constraint_name = f"Key (program_id, text)=(1, {{CODE}}) already exists.", "code_once"
    return error
def fails(error):
    raise error
def pydantic():
    Model.model_validate({{"count": CODE}})
"""
WAYS = {
    "an error of Postgres": "try: fails(unique())\nexcept Exception: log.exception('broke')",
    "an error of pydantic": "try: pydantic()\nexcept Exception: log.exception('broke')",
    "the cause of an error": "try:\n    try: pydantic()\n    except Exception as e: raise ValueError(CODE) from e\n"
                             "except Exception: log.exception('broke')",
    "what an error came after": "try:\n    try: {}[CODE]\n    except Exception: raise ValueError(CODE)\n"
                                "except Exception: log.exception('broke')",
    "one of a group": "try: fails(ExceptionGroup(CODE, [unique(), KeyError(CODE)]))\n"
                      "except Exception: log.exception('broke')",
    "what was refused": "try: fails(CodeUnknown(CODE))\nexcept Exception: log.exception('broke')",
    "an error in a field": "log.warning('broke', error=unique())",
    "its text in a field": "log.warning('broke', why=str(unique()))",
    "pydantic's text in a field": "try: pydantic()\nexcept Exception as e: log.warning('broke', why=str(e))",
    "a library's message": "logging.getLogger('faust').error('crashed: %r', KeyError(CODE))",
    "a library's traceback": "try: {}[CODE]\nexcept Exception: logging.getLogger('faust').exception('crashed')",
    "a library's text": "logging.getLogger('faust').error(f'crashed: {unique()}')",
    "a library's news": "logging.getLogger('aiokafka').info(CODE)",
    "a task that nobody waits for": "async def main():\n    async def fail(): raise KeyError(CODE)\n"
                                    "    task = asyncio.create_task(fail())\n    await asyncio.sleep(0)\n"
                                    "    await asyncio.sleep(0)\n    del task\nasyncio.run(main())",
    "a thread": "t = threading.Thread(target=fails, args=(KeyError(CODE),)); t.start(); t.join()",
    "what can't be raised": "class A:\n    def __del__(self): fails(KeyError(CODE))\nA()",
    "a warning": "warnings.warn('a library is old')",
    "the end of it": "fails(unique())",
}  # fmt: skip
QUIET = ("a library's news",)


def written(script: str) -> list[dict[str, Any]]:
    words = [sys.executable, "-c", SETUP + script]
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert CODE not in said.stderr
    assert not said.stdout
    return [json.loads(line) for line in said.stderr.splitlines()]


@pytest.mark.parametrize("way", WAYS)
def test_no_line_has_a_code(way: str) -> None:
    lines = written(WAYS[way])
    assert len(lines) == (0 if way in QUIET else 1), lines
    for line in lines:
        assert line.keys() >= {"event", "level", "timestamp", "service"}
        assert line["service"] == "issuer"


def test_what_helps_is_still_there() -> None:
    [line] = written("try: fails(unique())\nexcept Exception: log.exception('broke', request_id='7', partition=3)")
    assert line["exception"].endswith("UniqueViolationError (23505, code_once)")
    assert "in fails" in line["exception"]
    assert (line["event"], line["level"], line["request_id"], line["partition"]) == ("broke", "error", "7", 3)

    [line] = written("log.warning('waits', error=ConnectionRefusedError(111, 'Connection refused'))")
    assert line["error"] == "ConnectionRefusedError: [Errno 111] Connection refused"

    [line] = written("log.warning('waits', error=StackUnavailable('Kafka is away.'), service='other')")
    assert line["error"] == "StackUnavailable: Kafka is away."


def test_a_kafka_client_does_not_say_the_same_all_the_time() -> None:
    lines = written(
        "import time\n"
        "for second in (0, 3, 9, 10, 11):\n"
        "    time.monotonic = lambda: second\n"
        "    logging.getLogger('aiokafka.client').error('no connection at %s', second)\n"
        "logging.getLogger('aiokafka.client').error('no answer')\n"
        "for _ in range(2): logging.getLogger('asyncio').error('broke')\n"
    )
    assert [line["event"] for line in lines] == [
        "no connection at 0",
        "no connection at 10 (2 more since it was last said)",
        "no answer",
        "broke",
        "broke",
    ]


def test_a_rebalance_is_no_warning() -> None:
    lines = written(
        "client = logging.getLogger('aiokafka.consumer.group_coordinator')\n"
        "client.warning('Heartbeat failed for group %s because it is rebalancing', 'g')\n"
        "client.warning('Heartbeat failed: local member_id was not recognized')\n"
    )
    assert [line["event"] for line in lines] == ["Heartbeat failed: local member_id was not recognized"]


def test_a_worker_logs_its_end() -> None:
    lines = written(
        "import os, signal\n"
        "from codewell.infra.process.lifecycle import run\n"
        "async def main(stop):\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await stop.wait()\n"
        "run(main, is_worker=True)\n"
    )
    assert [(line["event"], line["level"]) for line in lines] == [("stopping", "info"), ("stopped", "info")]
    assert lines[0]["signal"] == "SIGTERM"
    assert lines[1]["ran_s"] >= 0
