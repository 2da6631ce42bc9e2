"""Actions of the audit log about programs, in words."""

from typing import Final

from services.console.pages.words import _

_WORDS: Final = {
    "alert.clear": _("Alerts cleared"),
    "change.begin": _("Change of many codes"),
    "change.stop": _("Change of many codes stopped"),
    "change.undo": _("Change of many codes undone"),
    "code.activate": _("Code activated"),
    "code.attach": _("Code attached"),
    "code.deactivate": _("Activation undone"),
    "code.delete": _("Codes deleted"),
    "code.detach": _("Code taken back"),
    "code.export": _("Codes exported"),
    "code.generate": _("Codes generated"),
    "code.reissue": _("Code reissued"),
    "code.show": _("Code shown"),
    "code.update": _("Code changed"),
    "import.begin": _("File imported"),
    "import.undo": _("Import undone"),
    "program.activate": _("Switched on"),
    "program.clone": _("Cloned"),
    "program.create": _("Created"),
    "program.deactivate": _("Switched off"),
    "program.remove": _("Removed"),
    "program.update": _("Settings changed"),
    "receipt.settle": _("Receipts settled"),
    "remote.test": _("Remote service tested"),
    "reservation.change": _("Reservation changed"),
    "reservation.create": _("Codes reserved"),
    "reservation.release": _("Reservation ended"),
    "secret.rotate": _("New secret made"),
    "secret.show": _("Secrets shown"),
}


def words_of(verb: str) -> str:
    """The action in words; one that has none is shown as it is."""
    return _WORDS.get(verb, verb)
