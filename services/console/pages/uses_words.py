"""How often codes may be used, in words."""

from collections.abc import Mapping

from schemas.uses import Uses
from services.console.pages.words import _


def uses_in_words(uses: Uses) -> str:
    """The two limits, as `3 in all, 1 by one customer`."""
    limits = {"code": _limit(uses.per_code), "profile": _limit(uses.per_profile)}
    return _("%(code)s in all, %(profile)s by one customer") % limits


def _limit(most: int | None) -> str:
    return _("no limit") if most is None else f"{most:,}"


def refund_in_words(word: str) -> str:
    """What becomes of the uses of a refunded order; any other word as it is."""
    return refunds().get(word, word)


def refunds() -> dict[str, str]:
    """What may become of the uses of a refunded order."""
    return {
        "give_back": _("can be used again"),
        "keep_used": _("stays used"),
    }


def uses_in_sentences(fields: Mapping[str, str]) -> list[str]:
    """What a draft says about uses; what is not asked yet is left out."""
    if "uses_per_code" not in fields:
        return []
    found = [_limits_in_a_sentence(fields)]
    if fields.get("holder_only"):
        found.append(_("Only a customer who got the code may use it."))
    if fields.get("refund") == "keep_used":
        found.append(_("A refunded order's code stays used."))
    return found


def _limits_in_a_sentence(fields: Mapping[str, str]) -> str:
    most, by_one = fields["uses_per_code"], fields.get("uses_per_profile", "")
    match most, by_one:
        case "1", _any:
            words = _("A code is used once in all.")
            if fields.get("shared"):
                words = _("All customers together use the shared code once: then it is given to no other.")
        case "", "":
            words = _("A code may be used any number of times.")
        case "", "1":
            words = _("Each customer may use a code once.")
        case "", _any:
            words = _("Each customer may use a code %(by_one)s times.")
        case _any, "":
            words = _("A code may be used %(most)s times in all.")
        case _any, "1":
            words = _("A code may be used %(most)s times in all, and once by each customer.")
        case _:
            words = _("A code may be used %(most)s times in all, and %(by_one)s times by each customer.")
    return words % {"most": most, "by_one": by_one}
