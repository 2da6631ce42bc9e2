"""The demo's scenes after its messages: what Codewell does where not all goes as planned."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from codewell.client.exchange import Exchange, OutgoingRequest, build_request
from services.standalone.demo_checks import DemoCheck
from services.standalone.home import Endpoints

_QUIET_TIMEOUT_S: Final = 15.0
_FOR_ALL: Final = "GIFT-FOR-ALL"


class Stage:
    """What the scenes act with: the HTTP API with all rights, and the topics."""

    def __init__(self, api: httpx.AsyncClient, exchange: Exchange) -> None:
        self._api = api
        self._exchange = exchange

    async def send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Post to the API below /api/v1."""
        return await self._api.post(f"/api/v1{path}", json=body)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The same, of what is not refused. Raises httpx.HTTPStatusError."""
        found: dict[str, Any] = (await self.send(path, body)).raise_for_status().json()
        return found

    async def ask(self, requests: Sequence[OutgoingRequest]) -> list[dict[str, Any]]:
        """Publish these requests, and return the data of their answers in the same order."""
        missing = {str(request.request_id) for request in requests}
        answers: dict[str, dict[str, Any]] = {}
        await self._exchange.publish(requests)
        async for answer in self._exchange.answers(_QUIET_TIMEOUT_S):
            request_id = answer.data["request_id"]
            if request_id in missing:
                answers[request_id] = answer.data
                if answers.keys() == missing:
                    break
        return [answers.get(str(request.request_id), {"outcome": "unanswered"}) for request in requests]


async def _program(stage: Stage, name: str, template: str, **settings: object) -> None:
    """Create a program whose codes are made on demand."""
    source = {"kind": "template", "template": template}
    switches = {"campaign_can_create": True, "scenario_can_create": True}
    await stage.post("/programs", {"name": name, "source": source, **switches, **settings})


def _message(program: str, profile: str) -> OutgoingRequest:
    return build_request("message-render", {"profile_id": profile, "campaign_id": "gift", "programs": [program]})


async def fallback_is_used(stage: Stage) -> DemoCheck:
    """Two customers want the one code of a program: the second gets the code of its fallback."""
    await _program(stage, "GIFT_FOR_ALL", _FOR_ALL, codes_max=1, shared=True)
    await _program(stage, "GIFT", "{safe 12}", codes_max=1, fallback=[{"program": "GIFT_FOR_ALL"}])
    answers = await stage.ask([_message("GIFT", "p-10001"), _message("GIFT", "p-10002")])
    codes = [code for answer in answers for code in answer.get("codes", ())]
    given = [code["code"] for code in codes if code.get("fallback") == 1 and code["from"] == "GIFT_FOR_ALL"]
    return DemoCheck(
        "a used-up program gives a code of its fallback",
        len(codes) == len(answers) and given == [_FOR_ALL],
        f"GIFT had one code for two customers, and the other one got {given[0] if given else 'none'}",
    )


async def reservation_is_told_its_shortfall(stage: Stage) -> DemoCheck:
    """A campaign wants more codes than a program may have, and is told how many are missing."""
    await _program(stage, "STOCK", "{safe 12}", codes_max=100)
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    wanted = {"campaign_id": "big", "count": 150, "until": until}
    refused = await stage.send("/programs/STOCK/reservations", wanted)
    figures = refused.json().get("figures", {})
    made = await stage.post("/programs/STOCK/reservations", wanted | {"partial": True})
    return DemoCheck(
        "a reservation is told its exact shortfall",
        refused.status_code == HTTPStatus.CONFLICT and figures.get("shortfall") == 50 and made["reserved"] == 100,
        f"150 of 100 codes were wanted, {figures.get('shortfall')} are missing, and {made['reserved']} are set aside",
    )


async def failed_send_comes_back(stage: Stage) -> DemoCheck:
    """A message with the only code of a program fails: the code comes back, and another customer gets it."""
    await _program(stage, "ONE", "{safe 12}", codes_max=1)
    failed = _message("ONE", "p-10001")
    [first] = await stage.ask([failed])
    receipt = {"request_id": str(failed.request_id), "profile_id": "p-10001", "receipt": "before_handoff"}
    settled = await stage.post("/receipts", {"receipts": [receipt]})
    outcomes = [code["outcome"] for code in settled["receipts"][0]["codes"]]
    [second] = await stage.ask([_message("ONE", "p-10002")])
    codes = [code["code"] for answer in (first, second) for code in answer.get("codes", ())]
    return DemoCheck(
        "the code of a failed send is given again",
        outcomes == ["returned"] and len(codes) == 2 and codes[0] == codes[1],
        f"the send to p-10001 failed, its code was {' and '.join(outcomes) or 'kept'}, and p-10002 got "
        f"{codes[1] if len(codes) > 1 else 'none'}",
    )


async def three_customers_redeem_one_code(stage: Stage) -> DemoCheck:
    """Three customers get one shared code, and each redeems it once."""
    await _program(stage, "SHARED", "SPRING-SALE", codes_max=1, shared=True)
    profiles = ("p-10001", "p-10002", "p-10003")
    await stage.ask([_message("SHARED", profile) for profile in profiles])
    steps = [
        await stage.send("/programs/SHARED/codes:activate", {"code": "SPRING-SALE", "profile_id": profile})
        for profile in (*profiles, profiles[0])
    ]
    done = [step.status_code for step in steps]
    return DemoCheck(
        "three customers redeem a shared code, each once",
        done == [HTTPStatus.OK] * len(profiles) + [HTTPStatus.CONFLICT],
        f"{done.count(HTTPStatus.OK)} redeemed it, and a second time was refused as {steps[-1].json().get('reason')}",
    )


SCENES: Final[Sequence[Callable[[Stage], Awaitable[DemoCheck]]]] = (
    failed_send_comes_back,
    reservation_is_told_its_shortfall,
    three_customers_redeem_one_code,
    fallback_is_used,
)


async def play(endpoints: Endpoints, exchange: Exchange) -> list[DemoCheck]:
    """Play all scenes, and return what they showed."""
    headers = {"Authorization": f"Bearer {endpoints.admin_token}"}
    async with httpx.AsyncClient(base_url=endpoints.api_url, headers=headers, trust_env=False) as api:
        stage = Stage(api, exchange)
        return [await scene(stage) for scene in SCENES]
