"""`codewell demo` shows the main job, and says so when it doesn't hold."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord
from click.testing import CliRunner

from codewell.client.exchange import ReceivedAnswer
from codewell.infra.uuid7 import uuid7
from schemas.events import CODES_ATTACHED, CODES_REFUSED
from schemas.program import Stock
from services.cli import codewell
from services.standalone import demo as demo_module
from services.standalone.demo import TEMPLATE
from services.standalone.demo_checks import DemoCheck, check
from services.standalone.demo_scenes import SCENES
from services.standalone.home import Endpoints
from tests.support.commands import CODEWELL, environment
from tests.support.processes import processes_in

TIMEOUT_S = 120.0


async def demo(where: Path, *words: str, **variables: str) -> tuple[int, str, str]:
    # Wide enough that no row of its table is wrapped.
    env = environment(CODEWELL_HOME=str(where / "home"), COLUMNS="200", **variables)
    process = await asyncio.create_subprocess_exec(
        *CODEWELL, "demo", "--exit", *words,
        env=env, cwd=where, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
async def test_demo(tmp_path: Path) -> None:
    status, out, err = await demo(tmp_path, "--messages", "300", "--steps", "100")
    assert status == 0, out + err
    assert "Traceback" not in err

    answers = re.findall(r"([0-9a-f]{8}-\S+) \W+ (p-\d+) \W+ ([A-Za-z]{4}-\d{4}-[A-Z]{4}) ", out)
    assert len(answers) == 10
    assert len({code for _, _, code in answers}) == 10
    assert out.count("✓") == 6 + len(SCENES)
    assert "✗" not in out
    assert "400 of 400" in out
    for name in ("Kafka", "Postgres", "Console", "Stock"):
        assert re.search(rf"^{name} +\S+", out, re.MULTILINE), out
    assert processes_in(tmp_path) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def record() -> ConsumerRecord:
    return ConsumerRecord("message-render.reply", 0, 0, 0, 0, b"", b"", 0, 0, 0, ())


def answer(request_id: UUID, code: str | None) -> ReceivedAnswer:
    data: dict[str, Any] = {"request_id": str(request_id), "profile_id": "p-1", "outcome": "refused", "refusals": []}
    if code is not None:
        data |= {"outcome": "attached", "codes": [{"program": "SPRING", "code": code}]}
    return ReceivedAnswer(str(uuid7()), CODES_REFUSED if code is None else CODES_ATTACHED, data, record())


ASKED = [uuid7() for _ in range(3)]
CODES = ["smFg-2497-DMPB", "abcd-0000-ABCD", "ZZZZ-9999-ZZZZ"]
GOOD = [answer(request_id, code) for request_id, code in zip(ASKED, CODES, strict=True)]
STOCK = Stock(program="SPRING", made=10, imported=0, pooled=7, reserved=0, attached=3, activated=0, expired=0,
              deleted=0, on_order=0, codes_max=1_000_000, pool_max=100)  # fmt: skip


def broken(answers: Sequence[ReceivedAnswer], stock: Stock = STOCK) -> set[str]:
    """Which checks did not hold."""
    checks: list[DemoCheck] = check(ASKED, answers, TEMPLATE, stock)
    assert len(checks) == 6
    return {one.says for one in checks if not one.held}


def test_good_answers_hold() -> None:
    assert broken(GOOD) == set()


def test_each_check_notices_what_it_is_for() -> None:
    assert "every request was answered" in broken(GOOD[:2])
    assert "every request was answered" in broken([*GOOD, answer(uuid7(), "abcd-1111-ABCD")])
    assert "each was answered once" in broken([*GOOD, GOOD[0]])
    assert "each got a code" in broken([*GOOD[:2], answer(ASKED[2], None)])
    assert "all codes differ" in broken([*GOOD[:2], answer(ASKED[2], CODES[0])])
    assert broken([*GOOD[:2], answer(ASKED[2], "ZZZZ-9999-ZZZ")]) == {"all codes fit the template"}
    for lost in ("pooled", "attached", "expired", "deleted", "imported"):
        changed = STOCK.model_copy(update={lost: getattr(STOCK, lost) + 1})
        assert broken(GOOD, changed) == {"stock is conserved"}


@pytest.mark.parametrize(("told", "status"), [([True], 0), ([False], 1), ([], 1)])
def test_its_exit_status_says_whether_all_held(monkeypatch: pytest.MonkeyPatch, told: list[bool], status: int) -> None:
    async def demonstrate(
        _messages: int, _steps: int, _leave: bool, _stop: asyncio.Event, result: Callable[[bool], None]
    ) -> None:
        for held in told:
            result(held)

    monkeypatch.setattr("services.standalone.demo.demonstrate", demonstrate)
    assert CliRunner().invoke(codewell, ["demo", "--exit"]).exit_code == status


async def test_told_to_stop_while_it_waits_for_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop, told = asyncio.Event(), list[bool]()

    @asynccontextmanager
    async def stack(*_: object) -> AsyncIterator[Endpoints]:
        yield Endpoints(postgres_url="postgresql://", kafka_bootstrap="127.0.0.1:1", api_url="http://127.0.0.1:1")

    async def wait(*_: object) -> bool:
        stop.set()
        await asyncio.sleep(TIMEOUT_S)
        return True

    monkeypatch.setenv("CODEWELL_HOME", str(tmp_path))
    monkeypatch.setattr(demo_module, "stack", stack)
    monkeypatch.setattr(demo_module, "_make_program", wait)
    # It is of the whole process.
    monkeypatch.setattr(demo_module, "configure", lambda *_: None)
    await asyncio.wait_for(demo_module.demonstrate(1, 0, False, stop, told.append), 5)
    assert told == []
