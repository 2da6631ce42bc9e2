"""The history of a code follows it through returns, and a place finds a code without its text."""

from typing import Any

import httpx

from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, importing_client, is_problem, settings

PROGRAM = "/programs/SPRING"


async def step(client: httpx.AsyncClient, verb: str, code: str, **more: Any) -> None:
    answer = await client.post(f"{PROGRAM}/codes:{verb}", json={"code": code, **more})
    assert answer.status_code == 200, answer.text


async def history(client: httpx.AsyncClient, code: str) -> dict[str, Any]:
    answer = await client.get(f"{PROGRAM}/history/{code}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def told(found: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(event[name] for name in ("event", *names)) for event in found["events"]]


async def test_a_code_that_returned_twice_keeps_its_whole_history(consoles: Consoles) -> None:
    name, secret = await consoles.token("admin")
    client = await consoles.with_secret(secret)
    await client.post("/programs", json=settings())
    await client.post(f"{PROGRAM}/codes:generate", json={"count": 1})
    code = (await client.post(f"{PROGRAM}/codes:attach", json={"profile_id": "p-1"})).json()["code"]
    await step(client, "activate", code)
    await step(client, "deactivate", code)
    first = (await client.get(f"{PROGRAM}/codes/{code}")).json()["place"]
    await step(client, "detach", code)
    await step(client, "attach", code, profile_id="p-2")
    await client.patch(f"{PROGRAM}/codes/{code}", json={"expires_at": "2090-01-01T00:00:00Z"})
    second = (await client.get(f"{PROGRAM}/codes/{code}")).json()["place"]
    await step(client, "detach", code)
    await client.patch(f"{PROGRAM}/codes/{code}", json={"fields": {}})
    await step(client, "attach", code, profile_id="p-3")
    await step(client, "activate", code)
    found = await history(client, code)
    assert told(found, "profile_id") == [
        ("made", None), ("attached", "p-1"), ("activated", None), ("deactivated", None), ("returned", None),
        ("attached", "p-2"), ("changed", None), ("returned", None), ("changed", None), ("attached", "p-3"),
        ("activated", None),
    ]  # fmt: skip
    # By whom is known of all but what shops and campaigns do all day.
    assert [event["event"] for event in found["events"] if event["by"] == name] == [
        "deactivated", "returned", "attached", "changed", "returned", "changed", "attached",
    ]  # fmt: skip
    changes = [event for event in found["events"] if event["event"] == "changed"]
    assert [(one["changed"], one["expires_at"]) for one in changes] == [
        (["expires_at"], "2090-01-01T00:00:00Z"), (["fields"], None),
    ]  # fmt: skip
    assert found["complete"]
    assert found["code"]["code"] == code
    # Each place that the code ever had still finds it, wherever it is now.
    for place in (first, second, found["code"]["place"]):
        assert (await client.get(f"{PROGRAM}/places/{place}")).json() == found["code"]
        assert (await client.get(f"{PROGRAM}/places/{place}/history")).json() == found
    assert len({first, second, found["code"]["place"]}) == 3


async def test_an_imported_code_names_its_file(consoles: Consoles) -> None:
    client = await importing_client(consoles)
    begun = await client.post(f"{PROGRAM}/imports", files={"file": ("summer.csv", b"ALPHA-0001\nALPHA-0002")})
    await consoles.api.state.context.importer.process_pending()
    await step(client, "attach", "ALPHA-0002", profile_id="p-1")
    await step(client, "detach", "ALPHA-0002")
    await client.delete(f"{PROGRAM}/codes/ALPHA-0002")
    found = await history(client, "ALPHA-0002")
    assert told(found, "file") == [
        ("imported", "summer.csv"), ("attached", None), ("returned", None), ("deleted", None),
    ]  # fmt: skip
    assert found["events"][0]["import_id"] == begun.json()["id"]
    [listed, _] = (await client.get(f"{PROGRAM}/codes")).json()["items"]
    assert (await client.get(f"{PROGRAM}/places/{listed['place']}")).json() == listed


async def test_a_campaign_is_named_where_its_code_is_reused(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(reuse="campaign"))
    await client.post(f"{PROGRAM}/codes:generate", json={"count": 1})
    code = (await client.post(f"{PROGRAM}/codes:attach", json={"profile_id": "p-1"})).json()["code"]
    assert told(await history(client, code), "scope")[-1] == ("attached", "hand")
    await connection.execute("UPDATE holding SET scope = 'campaign:spring'")
    assert told(await history(client, code), "scope")[-1] == ("attached", "campaign:spring")


async def test_a_return_before_moves_were_linked_is_said_to_be_incomplete(
    consoles: Consoles, connection: Connection
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post(f"{PROGRAM}/codes:generate", json={"count": 1})
    code = (await client.post(f"{PROGRAM}/codes:attach", json={"profile_id": "p-1"})).json()["code"]
    place = (await client.get(f"{PROGRAM}/codes/{code}")).json()["place"]
    await step(client, "detach", code)
    await connection.execute("UPDATE code_state SET moved_to = NULL")
    found = await history(client, code)
    assert not found["complete"]
    assert told(found, "profile_id") == [("made", None), ("attached", "p-1"), ("returned", None)]
    assert (await client.get(f"{PROGRAM}/places/{place}")).json() == found["code"]


async def test_a_place_without_a_code_is_unknown_and_no_guess(consoles: Consoles) -> None:
    client = await consoles.client("read")
    owner = await consoles.client("admin")
    await owner.post("/programs", json=settings())
    await owner.post(f"{PROGRAM}/codes:generate", json={"count": 3})
    places = ("0:1:999", "0:2:0", "1:1:0", "0:99999999999:0", "0:1", "2:1:0", "x", "0:1:-1")
    # More than a token may guess in a minute.
    for place in places * 8:
        is_problem(await client.get(f"{PROGRAM}/places/{place}"), 404, reason="code_unknown")
    assert (await client.get(f"{PROGRAM}/places/0:1:2")).status_code == 200


async def test_a_till_may_not_list_codes_by_their_places(consoles: Consoles) -> None:
    owner, till = await consoles.client("admin"), await consoles.client("redeem")
    await owner.post("/programs", json=settings())
    await owner.post(f"{PROGRAM}/codes:generate", json={"count": 1})
    for path in ("", "/history"):
        is_problem(await till.get(f"{PROGRAM}/places/0:1:0{path}"), 403, reason="scope_missing")


async def test_unknown_codes_of_a_history_count_as_guesses(consoles: Consoles) -> None:
    owner, client = await consoles.client("admin"), await consoles.client("read")
    await owner.post("/programs", json=settings())
    for _ in range(60):
        is_problem(await client.get(f"{PROGRAM}/history/SPRING-AAAA"), 404, reason="code_unknown")
    is_problem(await client.get(f"{PROGRAM}/history/SPRING-AAAA"), 429)


async def test_undone_activations_without_a_record_are_kept_up_to_fifty(
    consoles: Consoles, connection: Connection
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post(f"{PROGRAM}/codes:generate", json={"count": 1})
    code = (await client.post(f"{PROGRAM}/codes:attach", json={"profile_id": "p-1"})).json()["code"]
    await step(client, "activate", code)
    await step(client, "deactivate", code)
    for _ in range(52):
        # As a console of the release before does it.
        await connection.execute("UPDATE code_state SET activated_at = clock_timestamp()")
        await step(client, "deactivate", code)
    [kept] = await connection.fetchrow("SELECT undone_activations FROM code_state")
    assert len(kept) == 100
    assert kept == sorted(kept)
