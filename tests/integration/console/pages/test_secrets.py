"""Signing secrets of a remote service on pages: for administrators who signed in a short while ago."""

from datetime import timedelta
from uuid import uuid4

from tests.support.consoles import Consoles, settings

PAGE = "/programs/SPRING/secrets"
ROTATE = "/programs/SPRING/rotate-secret"
REMOTE = {"kind": "remote", "url": "https://codes.example/orders", "request_max": 10}


async def test_secrets_need_a_recent_sign_in(consoles: Consoles) -> None:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(source=REMOTE))).status_code == 201
    browser = await consoles.browser("admin")
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE session SET authenticated_at = now() - $1::interval", timedelta(minutes=16))
    sent_away = await browser.get(PAGE)
    assert (sent_away.status_code, sent_away.headers["location"]) == (303, f"/sign-in?to={PAGE}")
    assert (await browser.post(ROTATE, data={"key": str(uuid4())})).headers["location"].startswith("/sign-in")
    assert len((await api.get("/programs/SPRING/remote/secrets")).json()["secrets"]) == 1

    again = await consoles.browser("admin")
    assert "whsec_" in (await again.get(PAGE)).text
    assert (await again.post(ROTATE, data={"key": str(uuid4())})).headers["location"] == PAGE
    assert len((await api.get("/programs/SPRING/remote/secrets")).json()["secrets"]) == 2


async def test_who_may_not_see_secrets_is_not_asked_to_sign_in_again(consoles: Consoles) -> None:
    writer = await consoles.browser("read", "write")
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE session SET authenticated_at = now() - $1::interval", timedelta(minutes=16))
    assert (await writer.get(PAGE)).status_code == 403
    assert (await writer.post(ROTATE, data={"key": str(uuid4())})).status_code == 403


async def test_a_form_that_comes_twice_makes_one_secret(consoles: Consoles) -> None:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(source=REMOTE))).status_code == 201
    browser = await consoles.browser("admin")
    key = {"key": str(uuid4())}
    for _ in range(2):
        assert (await browser.post(ROTATE, data=key)).headers["location"] == PAGE
    made = (await api.get("/programs/SPRING/remote/secrets")).json()["secrets"]
    assert len(made) == 2


async def test_a_repeated_rotation_answers_no_secret_and_stores_none(consoles: Consoles) -> None:
    api = await consoles.client("admin")
    assert (await api.post("/programs", json=settings(source=REMOTE))).status_code == 201
    await api.get("/programs/SPRING/remote/secrets")
    headers = {"Idempotency-Key": "rotation"}
    first, again = [await api.post("/programs/SPRING/remote/secrets:rotate", headers=headers) for _ in range(2)]
    assert len(first.json()["secrets"]) == 2
    assert again.json() == {"program": "SPRING", "secrets": None}
    assert (await api.get("/programs/SPRING/remote/secrets")).json() == first.json()
    async with consoles.owners.acquire() as connection:
        stored = await connection.fetchval("SELECT string_agg(convert_from(body, 'UTF8'), '') FROM idempotency")
    assert "whsec_" not in stored
