"""Webhooks: who is told of events, what was sent to them, and sending it again."""

from typing import Any, Final, get_args

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.api import Page
from schemas.moments import ZONE, parse_moment
from schemas.webhooks import (
    ALERT_TYPES,
    EVENT_TYPES,
    CreatedWebhook,
    DeliveryState,
    ReplayedWebhook,
    Webhook,
    WebhookDelivery,
    WebhookDeliveryDetails,
    WebhookSecret,
    WebhookTestResult,
)
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.forms import Form
from services.console.pages.program_labels import sentence
from services.console.pages.recent_sign_in import RECENT_SIGN_IN
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _, ngettext

router = APIRouter(include_in_schema=False)
_PATH: Final = "/webhooks"
_ROWS: Final = 50
_FIELDS: Final = ("kind", "target", "description", "types", "groups")


@router.get(_PATH)
async def show_webhooks(visit: CurrentVisit, cursor: str | None = None, done: str = "") -> Response:
    """The list."""
    visit.require("read")
    listed = await visit.api.get(_PATH, Page[Webhook], {"limit": _ROWS, "cursor": cursor})
    told = _("The webhook is removed.") if done == "removed" else ""
    return visit.render("screens/webhooks.html", listed=listed, cursor=cursor, done=told)


@router.get(f"{_PATH}/new", dependencies=[RECENT_SIGN_IN])
async def show_form(visit: CurrentVisit) -> Response:
    """The form for a new webhook."""
    visit.require("admin")
    texts = {"kind": "webhook", "target": "", "description": "", "groups": ", ".join(visit.session.caller.groups)}
    return _form(visit, texts, list(ALERT_TYPES))


@router.post(f"{_PATH}/new", dependencies=[RECENT_SIGN_IN])
async def make_webhook(visit: CurrentVisit, form: PostedForm) -> Response:
    """Make it, and show its secret on the page that answers: nowhere else, and never again."""
    wanted = {name: form.text(name) for name in ("kind", "target", "description")}
    try:
        made = await visit.api.send(
            "POST", _PATH, {**wanted, "types": form.texts("types"), "groups": _names(form)}, key=form.key
        )
    except ApiRefusal as refusal:
        texts = {**wanted, "groups": form.text("groups")}
        return _form(visit, texts, form.texts("types"), _errors(refusal), refusal.status)
    webhook = CreatedWebhook.model_validate_json(made)
    return visit.render("screens/webhook_secret.html", webhook=webhook, secret=webhook.secret, is_new=True)


@router.get(f"{_PATH}/{{webhook_id}}")
async def show_webhook(
    visit: CurrentVisit, webhook_id: int, state: str = "", cursor: str | None = None, done: str = "", number: int = 0
) -> Response:
    """One webhook with its deliveries."""
    told = {
        "changed": _("The webhook is changed."),
        "resent": _("The delivery is sent again."),
        "replayed": ngettext("%(num)d event is to be sent.", "%(num)d events are to be sent.", number)
        % {"num": number},
    }.get(done, "")
    return await _shown(visit, webhook_id, state, cursor, done=told)


@router.post(f"{_PATH}/{{webhook_id}}/test")
async def test_webhook(visit: CurrentVisit, webhook_id: int) -> Response:
    """Send a test message, and show what came of it."""
    try:
        answer = await visit.api.send("POST", f"{_PATH}/{webhook_id}:test")
    except ApiRefusal as refusal:
        return await _shown(visit, webhook_id, error=refusal.detail, status=refusal.status)
    return await _shown(visit, webhook_id, tested=WebhookTestResult.model_validate_json(answer))


@router.post(f"{_PATH}/{{webhook_id}}/change")
async def change_webhook(visit: CurrentVisit, form: PostedForm, webhook_id: int) -> Response:
    """Switch it on or off, or change what it gets."""
    active = form.text("active")
    wanted: dict[str, Any] = {"active": active == "yes"} if active else {}
    if form.is_on("settings"):
        wanted = {"description": form.text("description"), "types": form.texts("types"), "groups": _names(form)}
        if form.text("target"):
            wanted["target"] = form.text("target")
    try:
        await visit.api.send("PATCH", f"{_PATH}/{webhook_id}", wanted)
    except ApiRefusal as refusal:
        return await _shown(visit, webhook_id, error=refusal.detail, status=refusal.status, form=form)
    return visit.go(f"{_PATH}/{webhook_id}?done=changed")


@router.post(f"{_PATH}/{{webhook_id}}/rotate", dependencies=[RECENT_SIGN_IN])
async def rotate_secret(visit: CurrentVisit, form: PostedForm, webhook_id: int) -> Response:
    """Make a new secret, and show it on the page that answers."""
    try:
        answer = await visit.api.send("POST", f"{_PATH}/{webhook_id}/secrets:rotate", key=form.key)
    except ApiRefusal as refusal:
        return await _shown(visit, webhook_id, error=refusal.detail, status=refusal.status)
    rotated = WebhookSecret.model_validate_json(answer)
    webhook = await visit.api.get(f"{_PATH}/{webhook_id}", Webhook)
    return visit.render("screens/webhook_secret.html", webhook=webhook, secret=rotated.secret, is_new=False)


@router.post(f"{_PATH}/{{webhook_id}}/replay")
async def replay(visit: CurrentVisit, form: PostedForm, webhook_id: int) -> Response:
    """Send events since a time."""
    try:
        since = parse_moment(form.text("since"), ZONE.get())
    except ValueError as error:
        return await _shown(visit, webhook_id, error=f"{_('Since')}: {error}.", status=422, form=form)
    wanted = {"since": since.isoformat(), "delivered": form.is_on("delivered")}
    try:
        answer = await visit.api.send("POST", f"{_PATH}/{webhook_id}:replay", wanted, key=form.key)
    except ApiRefusal as refusal:
        return await _shown(visit, webhook_id, error=refusal.detail, status=refusal.status, form=form)
    number = ReplayedWebhook.model_validate_json(answer).deliveries
    return visit.go(f"{_PATH}/{webhook_id}?done=replayed&number={number}")


@router.post(f"{_PATH}/{{webhook_id}}/remove")
async def remove_webhook(visit: CurrentVisit, form: PostedForm, webhook_id: int) -> Response:
    """Remove it, once its number was typed."""
    if form.text("typed") != str(webhook_id):
        error = _("Type the number of the webhook: %(number)d.") % {"number": webhook_id}
        return await _shown(visit, webhook_id, typed_error=error, status=422)
    await visit.api.send("DELETE", f"{_PATH}/{webhook_id}")
    return visit.go(f"{_PATH}?done=removed")


@router.get(f"{_PATH}/{{webhook_id}}/deliveries/{{delivery_id}}")
async def show_delivery(visit: CurrentVisit, webhook_id: int, delivery_id: int) -> Response:
    """One delivery with its attempts."""
    webhook = await visit.api.get(f"{_PATH}/{webhook_id}", Webhook)
    delivery = await visit.api.get(f"{_PATH}/{webhook_id}/deliveries/{delivery_id}", WebhookDeliveryDetails)
    return visit.render("screens/webhook_delivery.html", webhook=webhook, delivery=delivery)


@router.post(f"{_PATH}/{{webhook_id}}/deliveries/{{delivery_id}}/resend")
async def resend(visit: CurrentVisit, form: PostedForm, webhook_id: int, delivery_id: int) -> Response:
    """Send a delivery again."""
    await visit.api.send("POST", f"{_PATH}/{webhook_id}/deliveries/{delivery_id}:resend", key=form.key)
    return visit.go(f"{_PATH}/{webhook_id}?done=resent")


async def _shown(
    visit: Visit, webhook_id: int, state: str = "", cursor: str | None = None, *, status: int = 200, done: str = "",
    error: str = "", typed_error: str = "", tested: WebhookTestResult | None = None, form: Form | None = None,
) -> Response:  # fmt: skip
    """The webhook; with what was typed into a form that was refused."""
    webhook = await visit.api.get(f"{_PATH}/{webhook_id}", Webhook)
    wanted = state if state in get_args(DeliveryState) else None
    query = {"limit": _ROWS, "cursor": cursor, "state": wanted}
    listed = await visit.api.get(f"{_PATH}/{webhook_id}/deliveries", Page[WebhookDelivery], query)
    return visit.render(
        "screens/webhook.html", status=status, webhook=webhook, listed=listed, state=wanted or "", cursor=cursor,
        done=done, error=error, typed_error=typed_error, tested=tested,
        values={} if form is None else dict(form.items()),
        types=_types(webhook.types if form is None or not form.is_on("settings") else form.texts("types")),
        may_change=visit.may("admin"),
    )  # fmt: skip


def _form(
    visit: Visit, texts: dict[str, str], types: list[str], errors: dict[str, str] | None = None, status: int = 200
) -> Response:
    return visit.render(
        "screens/webhook_form.html", status=status, texts=texts, types=_types(types), errors=errors or {},
        own_groups=visit.session.caller.groups,
    )  # fmt: skip


def _types(chosen: list[Any]) -> list[tuple[str, bool]]:
    return [(one, one in chosen) for one in EVENT_TYPES]


def _names(form: Form) -> list[str]:
    return [name.strip() for name in form.text("groups").split(",") if name.strip()]


def _errors(refusal: ApiRefusal) -> dict[str, str]:
    """The sentences of a refusal by field; of the whole form under the empty name."""
    errors = {pointer.partition("/")[0]: sentence(words) for pointer, words in refusal.errors.items()}
    return {name: told for name, told in errors.items() if name in _FIELDS} or {"": refusal.detail}
