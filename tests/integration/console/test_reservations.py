"""Reservations over HTTP and by command: figures, repeats, refusals, access, and what the audit log says."""

from datetime import UTC, datetime, timedelta
from typing import Any

from codewell.audit import audit_log
from codewell.audit.promises import audit
from tests.support.consoles import Consoles, is_problem, settings

UNTIL = (datetime.now(UTC) + timedelta(days=1)).isoformat()
KEY = {"Idempotency-Key": "k-1"}


def wanted(**changed: Any) -> dict[str, Any]:
    return {"campaign_id": "spring", "count": 600, "until": UNTIL, **changed}


async def test_a_reservation_from_its_dry_run_to_its_end(consoles: Consoles) -> None:
    client = await consoles.client("read", "write", groups=["marketing"])
    assert (await client.post("/programs", json=settings(codes_max=1_000, groups=["marketing"]))).status_code == 201
    told = (await client.get("/programs/SPRING/availability", params={"count": 600, "at": UNTIL})).json()
    assert (told["reserved"], told["shortfall"], told["limit"]) == (600, 0, None)

    made = await client.post("/programs/SPRING/reservations", json=wanted(), headers=KEY)
    again = await client.post("/programs/SPRING/reservations", json=wanted(), headers=KEY)

    assert (made.status_code, again.content) == (201, made.content)
    assert made.json()["parts"] == {"pooled": 0, "minted": 600, "on_order": 0, "expiring_before_send": 0}
    short = await client.post("/programs/SPRING/reservations", json=wanted(campaign_id="b"))
    is_problem(short, 409, "400 of 600", reason="reservation_short")
    assert short.json()["figures"] == {
        "count": 600, "reserved": 400, "shortfall": 200, "limit": "maximum",
        "parts": {"pooled": 0, "minted": 400, "on_order": 0, "expiring_before_send": 0},
    }  # fmt: skip
    some = await client.post("/programs/SPRING/reservations", json=wanted(campaign_id="b", partial=True))
    assert (some.json()["reserved"], some.json()["shortfall"], some.json()["limit"]) == (400, 200, "maximum")
    ids = [one.json()["id"] for one in (some, made)]
    page = (await client.get("/programs/SPRING/reservations", params={"limit": 1})).json()
    rest = (await client.get("/programs/SPRING/reservations", params={"cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == ids

    path = f"/programs/SPRING/reservations/{made.json()['id']}"
    less = await client.patch(path, json={"count": 100})
    assert (less.status_code, less.json()["left"]) == (200, 100)
    stock = (await client.get("/programs/SPRING/stock")).json()
    assert (stock["pooled"], stock["reserved"]) == (1_000, 500)
    released = await client.post(f"{path}:release", json={})
    assert released.json()["state"] == "released"
    assert (await client.post(f"{path}:release", json={})).content == released.content
    assert (await client.get(path)).json() == released.json()
    open_ = (await client.get("/programs/SPRING/reservations")).json()["items"]
    assert [one["id"] for one in open_] == [some.json()["id"]]
    all_ = (await client.get("/programs/SPRING/reservations", params={"ended": True})).json()["items"]
    assert len(all_) == 2
    async with consoles.owners.acquire() as connection:
        entries = await audit_log.page(connection, 10, verb="reservation")
        assert [entry.verb for entry in entries] == [
            "reservation.release", "reservation.change", "reservation.create", "reservation.create",
        ]  # fmt: skip
        assert entries[0].details["campaign_id"] == "spring"
        assert await audit(connection) == []


async def test_bad_reservations_say_what_to_do(consoles: Consoles) -> None:
    client = await consoles.client("read", "write", groups=["marketing"])
    until = {"valid_until": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    assert (await client.post("/programs", json=settings(groups=["marketing"], **until))).status_code == 201
    path = "/programs/SPRING/reservations"

    for bad in ({"count": 0}, {"count": "5"}, {"scenario_id": "x"}, {"campaign_id": None}, {"until": "soon"}, {"a": 1},
                {"overflow": "some"}):  # fmt: skip
        is_problem(await client.post(path, json=wanted(**bad)), 422, reason="field_invalid")
    late = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    is_problem(await client.post(path, json=wanted(until=late)), 422, "set until", reason="reservation_too_long")
    is_problem(await client.post(path, json=wanted(send_at=late)), 422, reason="reservation_too_long")
    is_problem(await client.post(path, json=wanted(count=2**62)), 409, reason="reservation_short")
    for unknown in (7, "7:release"):
        method = client.get if unknown == 7 else client.post
        is_problem(await method(f"{path}/{unknown}"), 404, reason="reservation_unknown")
    is_problem(await client.patch(f"{path}/7", json={}), 422, reason="field_invalid")
    is_problem(await client.patch(f"{path}/7", json={"count": 1}), 404, reason="reservation_unknown")
    is_problem(await client.get("/programs/SPRING/availability"), 422)

    made = (await client.post(path, json=wanted(count=5))).json()
    is_problem(await client.post(path, json=wanted(count=5)), 409, reason="reservation_exists")
    others = await consoles.client("read", "write", groups=["other"])
    is_problem(await others.post(path, json=wanted(campaign_id="c")), 404, reason="program_unknown")
    is_problem(await others.get(f"{path}/{made['id']}"), 404, reason="program_unknown")
    is_problem(await others.post(f"{path}/{made['id']}:release"), 404, reason="program_unknown")
    reader = await consoles.client("read")
    is_problem(await reader.post(path, json=wanted(campaign_id="c")), 403, reason="scope_missing")
    assert (await reader.get(f"{path}/{made['id']}")).status_code == 200
