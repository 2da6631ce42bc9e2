"""What each kind of alert means: its level, and its words for people."""

from typing import Final, NamedTuple

from schemas.alerts import AlertKind, AlertLevel

# Who clears an alert whose cause is gone.
ITSELF: Final = "codewell"


class Kind(NamedTuple):
    """`title`: what has happened, in a few words. `action`: what it means, and what to do about it."""

    level: AlertLevel
    title: str
    action: str


KINDS: Final[dict[AlertKind, Kind]] = {
    "fallback-used": Kind(
        "warning",
        "A fallback gives codes",
        "This program had no code to give, so requests got codes of a fallback. Add codes, raise the maximum, or look "
        "at the remote service.",
    ),
    "order-unpaid-code": Kind(
        "critical",
        "A paid order did not get its code",
        "An order was paid, but could not use one of its codes: the hold had passed, and the code is not free or no "
        "longer valid. The customer may have paid a reduced price. The order's refusals say why.",
    ),
    "return-conflict": Kind(
        "critical",
        "A code came back, but was delivered",
        "A send was reported as failed and its code came back; then the send was reported as delivered. If another "
        "request is named, two customers may have it. If none is, it was deleted: give its customer another.",
    ),
    "returns-stopped": Kind(
        "critical",
        "Codes no longer come back",
        "So many sends of the last hour failed that a fault is likely. Codes of failed sends wait until this alert is "
        "cleared.",
    ),
    "runs-out-within": Kind(
        "warning",
        "The program runs out of codes soon",
        "With the usual demand the last code is given soon. The forecast's cause says why: raise the maximum, import "
        "codes, or have the remote service deliver more.",
    ),
    "pool-below": Kind(
        "warning",
        "Few codes are left in the pool",
        "The pool has fewer codes than the rule asks for. Generate or import codes, or look why generators or the "
        "remote service don't fill it.",
    ),
    "ends-within": Kind(
        "warning",
        "The program ends soon",
        "After its end it gives no codes, and requests are refused. Extend its validity period, or let campaigns and "
        "scenarios that use it end before.",
    ),
    "codes-expire-within": Kind(
        "warning",
        "Many codes of the pool expire soon",
        "A large share of the codes that are ready expires soon, and no others are made by themselves. Change their "
        "expiry, or import or generate others.",
    ),
    "refusals": Kind(
        "critical",
        "Many requests are refused",
        "A large share of the requests of the last 15 minutes got no code. The figures say for which reasons: each is "
        "explained among the reasons of the API.",
    ),
    "remote-down": Kind(
        "critical",
        "The remote service does not answer as it should",
        "Several requests in a row failed, so orders wait. The figures have its last error. Once the pool is empty, "
        "requests are refused.",
    ),
    "returns-share": Kind(
        "warning",
        "Many codes come back",
        "Many sends of the last hour failed, so their codes come back. Look at the sender: if the share grows, returns "
        "stop.",
    ),
}

# Raised and cleared by generators alone, from figures: each is the rule of the same name.
RULED: Final[tuple[AlertKind, ...]] = (
    "runs-out-within", "pool-below", "ends-within", "codes-expire-within", "refusals", "remote-down", "returns-share",
)  # fmt: skip
