"""A database with one of everything that the console's pages show, with texts of the test's choice in all of it."""

import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import httpx

from codewell.access import tokens
from codewell.alerts.alerts import raise_alert
from codewell.webhooks import WebhookEvent, enqueue, leases
from tests.support.pages import form, submit
from tests.support.running import until
from tests.support.sender_records import message
from tests.support.site import Site

# What attackers and accidents write: markup, an attribute that ends, a template, the override of the direction.
HOSTILE: Final = "<script>window.hurt=1</script><img src=x onerror=window.hurt=1>\"'`{{7*7}}&amp;%00\u202eevil\u2066"
LONG: Final = "W" * 150
OURS: Final = "ours"
REMOTE_ONLY: Final = ("/secrets", "/test-request")


class Furnished(NamedTuple):
    """What pages have in their addresses, by the names of the parameters of their routes."""

    ours: dict[str, str]
    others: dict[str, str]
    """The same for a program of another access group."""
    secret: str
    """The token of the person who made it all, drafts and uploads too, which only that person sees."""

    def values(self, path: str) -> dict[str, str]:
        """Those of the page at this route's path: some are of programs with a remote service only."""
        return self.ours | ({"name": "REMOTE"} if path.endswith(REMOTE_ONLY) else {})


async def furnish(site: Site, url: str, text: str = "") -> Furnished:
    """Fill an empty site over the API of the console at `url`; `text` is in every title, code, field and name."""
    _, secret = await tokens.create(site.database, "furnisher", ["admin", "profiles"])
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, trust_env=False) as api:
        profile, campaign = f"p-1{text}"[:250], f"spring{text}"[:250]
        await _make(api, "SPRING", OURS, text)
        await _make(api, "OTHER", "theirs", text)
        await _make(api, "REMOTE", OURS, text, source={"kind": "remote", "url": "https://codes.example/o?a=<b>&c='"})
        await _put(api, "PUT", f"/profiles/{quote(profile, safe='')}", {"fields": {"city": f"Paris{text}"}})
        import_id = await _import(api, "SPRING", f"vip{text}.csv", text)
        other_import = await _import(api, "OTHER", "vip.csv", "")
        fields = {"discount": f"10 %{text}"}
        for name in ("SPRING", "OTHER"):
            await _put(api, "POST", f"/programs/{name}/codes:generate", {"count": 300, "fields": fields})
        change = {"filter": {"state": "pooled"}, "expires_at": "2090-01-01"}
        changes = [await _put(api, "POST", f"/programs/{name}/codes:change", change) for name in ("SPRING", "OTHER")]
        code = f"GIFT{_printable(text)}"[:200]
        for taken in (code, "GIFT-2", "GIFT-3", "GIFT-4"):
            await _put(api, "POST", "/programs/SPRING/codes:attach", {"profile_id": profile, "code": taken})
        await _put(api, "POST", "/programs/SPRING/codes:activate", {"code": code})
        await _put(api, "POST", "/programs/SPRING/codes:detach", {"code": "GIFT-2"})
        await _put(api, "POST", "/programs/OTHER/codes:attach", {"profile_id": "p-2", "code": "THEIRS-1"})
        webhook_id, delivery_id = await _webhook(site, api, text)
    await site.database.execute(
        "UPDATE remote_service SET failures = 3, error = $1, error_at = now()",
        f"The service answered 500: {text or 'out of codes'}",
    )
    spring = await site.database.fetchval("SELECT id FROM program WHERE name = 'SPRING'")
    await raise_alert(site.database, spring, "return-conflict", f"r-1{text}"[:250], {"other": text})
    async with site.issuer():
        await site.publish(
            [message(f"{number}-{profile}"[:250], "SPRING", campaign_id=campaign) for number in range(5)]
        )
        await site.put("message-render", f'{{"broken": "{text}'.encode(), key=profile.encode())
        await site.came("message-render.reply", 5)
        await site.came("message-render.dlq", 1)
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, trust_env=False) as api:
        letters = (await api.get("/dead-letters")).json()["items"]
        places = [
            (await api.get(f"/programs/{name}/codes")).json()["items"][0]["place"] for name in ("SPRING", "OTHER")
        ]
        token_id = (await api.get("/tokens")).json()["items"][0]["id"]
    async with signed_in(url, secret) as person:
        draft, upload = await _draft(person), await _upload(person, f"more{text}.csv", text)
    same = {
        "profile_id": profile, "profile": profile, "made": "20", "token_id": str(token_id), "at": letters[0]["at"],
        "step": "activate", "session_id": str(uuid4()), "draft": draft, "upload_id": upload,
        "webhook_id": webhook_id, "delivery_id": delivery_id,
    }  # fmt: skip
    ours = {"name": "SPRING", "code": code, "place": places[0], "id": import_id, "import_id": import_id,
            "change_id": changes[0]["id"]}  # fmt: skip
    others = {"name": "OTHER", "code": "THEIRS-1", "place": places[1], "id": other_import,
              "import_id": other_import, "change_id": changes[1]["id"]}  # fmt: skip
    return Furnished(same | ours, same | others, secret)


def signed_in(url: str, secret: str) -> httpx.AsyncClient:
    """A client of the pages that signs in with this token before its first request. It follows no redirects."""
    client = httpx.AsyncClient(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False)

    async def sign_in(request: httpx.Request) -> None:
        if not client.cookies and request.url.path != "/sign-in":
            await client.post("/sign-in", data={"token": secret})
            client.cookies.set_cookie_header(request)

    client.event_hooks["request"].append(sign_in)
    return client


async def _webhook(site: Site, api: httpx.AsyncClient, text: str) -> tuple[str, str]:
    """A webhook with a delivery that failed; returns their ids."""
    target = "https://shop.example/h?a=<b>&c='"
    made = await _put(api, "POST", "/webhooks", {"target": target, "description": f"On call {_printable(text)}"[:200]})
    event = WebhookEvent(uuid4(), "dev.codewell.alert-raised.v1", datetime.now(UTC), None, json.dumps({"title": text}))
    async with site.database.transaction():
        await enqueue(site.database, [event])
    [leased] = await leases.lease(site.database, 600, {}, 1)
    outcome = leases.Outcome(500, f"The receiver answered 500: {text}", text[:300], hopeless=True)
    await leases.record(site.database, leased, outcome, 0.1)
    return str(made["id"]), str(leased.id)


async def _draft(person: httpx.AsyncClient) -> str:
    """Begin a change of the program; returns the draft's id."""
    shown = await person.get("/programs/SPRING/edit")
    answer = await submit(person, form(shown, "/programs/SPRING/edit"), title="Another title", go="review")
    return httpx.URL(answer.headers["location"]).params["draft"]


async def _upload(person: httpx.AsyncClient, file_name: str, text: str) -> str:
    """Send a file whose columns are still to be chosen; returns the upload's id."""
    quoted = text.replace('"', '""')
    content = f'"Voucher{quoted}","Discount"\n"MORE-1","{quoted}"\n"{quoted}","x"\n'.encode()
    answer = await person.post("/programs/SPRING/import", files={"file": (file_name, content)})
    return answer.headers["location"].rpartition("/")[2]


def _printable(text: str) -> str:
    """What may be in a code."""
    return "".join(letter for letter in text if letter.isprintable())


async def _make(api: httpx.AsyncClient, name: str, group: str, text: str, **given: Any) -> None:
    settings = {
        "name": name, "title": f"The {name.lower()} sale{text}", "description": f"For all.{text}", "groups": [group],
        "source": {"kind": "template", "template": name + "-{upstring 6}"}, "codes_max": 10_000, "pool_max": 500,
        "fields": [{"name": "discount"}], "campaign_can_create": True, "allow_guessable": True,
    }  # fmt: skip
    await _put(api, "POST", "/programs", settings | given)


async def _import(api: httpx.AsyncClient, program: str, file_name: str, text: str) -> str:
    """Import a file with a bad row to its end; returns the import's id."""
    quoted = text.replace('"', '""')
    rows = [f'"{program}-VIP-{number}{_printable(quoted)}","{number} %{quoted}"\n' for number in range(20)]
    content = "Voucher,Discount\n" + "".join([*rows, rows[0], ",\n"])
    answer = await api.post(
        f"/programs/{program}/imports", files={"file": (file_name, content.encode())},
        data={"column": "Voucher", "field_column": "discount=Discount", "header": "true", "delimiter": "comma"},
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    made: str = answer.json()["id"]

    async def is_done() -> bool:
        state: str = (await api.get(f"/imports/{made}")).json()["state"]
        return state != "running"

    await until(is_done, "import that is done")
    return made


async def _put(api: httpx.AsyncClient, method: str, path: str, body: object) -> Any:
    answer = await api.request(method, path, json=body)
    assert answer.is_success, f"{method} {path}: {answer.text}"
    return answer.json() if answer.content else None
