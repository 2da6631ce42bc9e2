"""When a program runs out of codes, over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest

from codewell.infra.postgres.connection import Connection
from tests.integration.forecast.test_reading import give
from tests.support.consoles import Consoles, is_problem, settings


async def test_a_forecast_and_the_levels_that_are_expected(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin", groups=["shop"])
    made = await client.post("/programs", json=settings(groups=["shop"]))
    assert made.status_code == 201, made.text
    await client.post("/programs/SPRING/codes:generate", json={"count": 1_000})
    await give(connection, made.json()["id"], 10)

    found = (await client.get("/programs/SPRING/forecast")).json()

    assert found.keys() == {"runs_out_at", "cause", "before_valid_until", "assumes"}
    left = datetime.fromisoformat(found["runs_out_at"]["p50"]) - datetime.now(UTC)
    assert left / timedelta(hours=1) == pytest.approx(100, rel=0.02)
    assert (found["cause"], found["before_valid_until"], found["assumes"]) == ("stock", True, ["usual_weeks"])

    levels = (await client.get("/overview/SPRING/levels")).json()
    assert len(levels["expected"]) == 24
    assert levels["expected"][23]["usual"] == pytest.approx(1_000 - 240, abs=10)

    await client.post("/programs", json=settings("AUTUMN", groups=["shop"]))
    await (await consoles.client("admin")).post("/programs", json=settings("OTHERS", groups=["mail"]))
    listed = (await client.get("/forecasts", params={"name": ["SPRING", "AUTUMN", "OTHERS"]})).json()
    assert [(one["program"], one["cause"]) for one in listed["items"]] == [("AUTUMN", "stock"), ("SPRING", "stock")]
    mail = await consoles.client("read", groups=["mail"])
    assert [one["program"] for one in (await mail.get("/forecasts")).json()["items"]] == ["OTHERS"]

    await client.post("/programs/SPRING/deactivate")
    found = (await client.get("/programs/SPRING/forecast")).json()
    assert (found["runs_out_at"], found["assumes"]) == ({"p50": None, "p90": None}, ["switched_off"])
    assert (await client.get("/overview/SPRING/levels")).json()["expected"] == []


async def test_a_program_that_there_is_not_and_one_of_another_group(consoles: Consoles) -> None:
    client = await consoles.client("admin", groups=["shop"])
    await client.post("/programs", json=settings(groups=["shop"]))
    other = await consoles.client("read", groups=["mail"])

    is_problem(await client.get("/programs/NOWHERE/forecast"), 404, reason="program_unknown")
    is_problem(await other.get("/programs/SPRING/forecast"), 404, reason="program_unknown")
    redeem = await consoles.client("redeem")
    assert (await redeem.get("/programs/SPRING/forecast")).status_code == 403
