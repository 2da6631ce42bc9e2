"""The labels of the form of a program."""

import re
from typing import Final

from schemas.program import FALLBACK_REASONS
from services.console.pages.words import _

# The first field of a setting, where it has another name.
FIELD_OF: Final = {
    "valid_until": "valid_to", "min_life_at_attach": "min_life", "fallback_after": "fallback_wait",
    "fallback_on": f"fallback_{FALLBACK_REASONS[0]}", "uses": "uses_per_code",
}  # fmt: skip
# In the sentences of the API.
_SETTING: Final = re.compile(r"\b(?:[a-z]+(?:_[a-z]+)+|ttl)\b")


def labels() -> dict[str, str]:
    """The label of each field."""
    return {
        "title": _("Template name"),
        "name": _("Short name"),
        "description": _("Short description"),
        "groups": _("Access groups"),
        "valid_from": _("Valid from"),
        "valid_to": _("Valid until"),
        "source": _("Where codes come from"),
        "template": _("Template"),
        "url": _("URL of the remote service"),
        "request_max": _("Codes a request"),
        "scenario_can_create": _("Scenario can create promo codes"),
        "campaign_can_create": _("Campaign can create promo codes"),
        "shared": _("One promo code can be attached to multiple profiles"),
        "auto_link": _("Automatically link promo codes to profile"),
        "codes_max": _("The maximum number of promo codes"),
        "pool_max": _("Pool size"),
        "ttl": _("Time to live"),
        "ttl_from": _("The time to live starts"),
        "min_life": _("Least life left when attached"),
        "fields": _("Custom fields"),
        "reuse": _("The same code again"),
        "match": _("Which texts stand for a code"),
        "returns": _("Code of a failed send"),
        "return_after": _("It waits before that"),
        "reissues_max": _("Reissues of a code"),
        "retention": _("Answers stay after a code's expiry"),
        "uses_per_code": _("Uses of a code"),
        "uses_per_profile": _("Uses of a code by one customer"),
        "holder_only": _("Only a customer who got the code may use it"),
        "refund": _("Code of an order that is refunded"),
        "fallback": _("Fallbacks"),
        f"fallback_{FALLBACK_REASONS[0]}": _("A fallback is asked when"),
        "fallback_wait": _("Wait for a remote service"),
        "alerts": _("Alerts are raised when"),
        "allow_guessable": _("Accept codes that can be guessed"),
        "active": _("Active"),
    }


def label_of(field: str) -> str:
    """The label of a field, also of a row of custom fields."""
    return labels().get("fields" if field.startswith("field_") else field, "")


def sentence(words: str) -> str:
    """Words that follow a field's name, as a sentence of their own. Settings in them stand by their labels."""
    words = _SETTING.sub(lambda found: _label(found[0]), words)
    return words if words.endswith(".") else f"{words[:1].upper()}{words[1:]}."


def _label(setting: str) -> str:
    label = label_of(FIELD_OF.get(setting, setting))
    return f"“{label}”" if label else setting
