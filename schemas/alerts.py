"""Alerts about programs, as the HTTP API takes and answers them, and as events tell them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue

from schemas import patterns
from schemas.event_parts import Event, ShortName
from schemas.strict_model import StrictModel

AlertKind = Literal[
    "fallback-used",
    "order-unpaid-code",
    "return-conflict",
    "returns-stopped",
    "runs-out-within",
    "pool-below",
    "ends-within",
    "codes-expire-within",
    "refusals",
    "remote-down",
    "returns-share",
]
AlertKey = Annotated[str, Field(max_length=300)]
# Critical: customers get no code, or a wrong one, until somebody acts.
AlertLevel = Literal["warning", "critical"]


class Alert(StrictModel):
    """What a person has to know about a program, until somebody clears it.

    `key`: what it is about within the program, such as a request id; empty where the kind says all. `count`: how often
    it was raised while open, the last time at `last_at`. `details` differ by kind. `cleared_at` null: it is open.
    """

    id: int
    kind: AlertKind
    key: AlertKey
    level: AlertLevel
    raised_at: datetime
    last_at: datetime
    count: int
    details: dict[str, JsonValue]
    cleared_at: datetime | None
    cleared_by: str | None


class ProgramAlert(Alert):
    """An alert with the short name of its program."""

    program: ShortName


class ClearAlerts(StrictModel):
    """Which open alerts of the program to clear: of this kind and with this key; left out: any."""

    kind: AlertKind | None = None
    key: Annotated[AlertKey, Field(pattern=patterns.TEXT)] | None = None


class ClearedAlerts(StrictModel):
    """How many alerts were cleared; 0 if none was open."""

    cleared: int


class AlertEvent(Event):
    """What both events of an alert say.

    `alert_id` and `rule`: the alert's own id and kind. `key`: what it is about within the program; empty where the rule
    says all. `title`: what has happened, for people. `figures` differ by rule, and `count` is how often it was raised.
    `at`: when this happened. `link`: the program's page in the console; null where no public URL is set.
    """

    alert_id: int
    program: ShortName
    rule: AlertKind
    key: AlertKey
    level: AlertLevel
    title: str
    figures: dict[str, JsonValue]
    count: int
    raised_at: AwareDatetime
    at: AwareDatetime
    link: str | None


class AlertRaised(AlertEvent):
    """A program needs somebody's attention.

    An alert was opened, or is still open (`reminder`, once a day). `action`: what it means, and what to do about it.
    """

    reminder: bool
    action: str


class AlertCleared(AlertEvent):
    """An alert is over. `cleared_by`: who cleared it; `codewell` where its cause is gone."""

    cleared_by: str
