"""What each scope of a token allows, in words."""

from schemas.token import Scope
from services.console.pages.words import _


def meanings() -> dict[Scope, str]:
    """A sentence for each scope."""
    return {
        "read": _("Read programs, stock, codes and profiles; export."),
        "write": _("Create and change programs, codes and profiles."),
        "redeem": _("Look up single codes and activate them: what a shop needs."),
        "admin": _("All of the above, and tokens, remote secrets and webhooks."),
        "support": _("Look up single codes and reissue them: give a customer another code."),
        "profiles": _("With access groups: fields of profiles too."),
    }
