"""Rules of alerts: when a program needs somebody's attention, as its settings say it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, Field, TypeAdapter, model_validator

from schemas.amounts import Count, Lifetime
from schemas.strict_model import Contradictions, StrictModel

RuleKind = Literal[
    "runs_out_within",
    "pool_below",
    "ends_within",
    "codes_expire_within",
    "refusals",
    "remote_down",
    "returns_share",
    "fallback_used",
]
RULE_KINDS: Final[tuple[RuleKind, ...]] = get_args(RuleKind)
# What each kind is measured by, with its default; None: it has to be given.
_MEASURES: Final[dict[RuleKind, dict[str, Any]]] = {
    "runs_out_within": {"within": timedelta(days=3)},
    "pool_below": {"codes": None},
    "ends_within": {"within": timedelta(days=3)},
    "codes_expire_within": {"within": timedelta(days=3), "share": 0.5},
    "refusals": {"share": 0.1},
    "remote_down": {},
    "returns_share": {"share": 0.1},
    "fallback_used": {},
}
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_WITHIN: Final = TypeAdapter[timedelta](Lifetime)


def _is_none(given: object) -> bool:
    return given is None


class AlertRule(StrictModel):
    """A rule: its kind, and what that is measured by. What is left out has the kind's default.

    `within`, a duration as `P3D`, of `runs_out_within`, `ends_within` and `codes_expire_within`; `codes` of
    `pool_below`, which has no default; `share` (0 to 1) of `codes_expire_within`, `refusals` and `returns_share`.
    A rule is answered without what its kind does not have.
    """

    kind: RuleKind
    within: Lifetime | None = Field(None, exclude_if=_is_none)
    codes: Count | None = Field(None, exclude_if=_is_none)
    share: Share | None = Field(None, exclude_if=_is_none)

    @model_validator(mode="before")
    @classmethod
    def _has_defaults(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("kind") in RULE_KINDS:
            defaults = {name: value for name, value in _MEASURES[given["kind"]].items() if value is not None}
            return given | {name: value for name, value in defaults.items() if given.get(name) is None}
        return given

    @model_validator(mode="after")
    def _is_measured(self) -> Self:
        measures = _MEASURES[self.kind]
        wrong = []
        for name in ("within", "codes", "share"):
            if getattr(self, name) is None and name in measures:
                wrong.append((name, f"{name} is required by {self.kind}"))
            if getattr(self, name) is not None and name not in measures:
                wrong.append((name, f"{name} is not for {self.kind}: leave it out"))
        if wrong:
            raise Contradictions(wrong)
        return self

    def __str__(self) -> str:
        """The rule as people write it: `KIND`, or `KIND=VALUE`, or `KIND=VALUE:VALUE`."""
        values = [_written(getattr(self, name)) for name in _MEASURES[self.kind]]
        return "=".join(filter(None, (self.kind, ":".join(values))))


RULES_MAX: Final = len(RULE_KINDS)
# Fits most: what needs no number of the program's own, and is no alert in a program that works as it should.
DEFAULT_RULES: Final = tuple(AlertRule(kind=kind) for kind in RULE_KINDS if None not in _MEASURES[kind].values())
AlertRules = Annotated[
    tuple[AlertRule, ...],
    Field(max_length=RULES_MAX, description="When an alert is raised; each kind at most once."),
]


def rule_of(text: str) -> dict[str, Any]:
    """The rule that a text such as `pool_below=1000` means, as JSON; what is wrong with it is left in."""
    kind, _, rest = text.strip().partition("=")
    names = list(_MEASURES.get(kind, {"within": None}))  # type: ignore[call-overload]
    values = [value.strip() for value in rest.split(":")] if rest else []
    # One value too many is a field that no rule has.
    names += [f"value {number}" for number in range(len(names) + 1, len(values) + 1)]
    return {"kind": kind, **{name: _read(name, value) for name, value in zip(names, values, strict=False)}}


def contradictions_of(rules: Sequence[AlertRule]) -> list[tuple[str, str]]:
    """What rules contradict each other."""
    kinds = [rule.kind for rule in rules]
    return [("alerts", "alerts must name each kind once")] if len(set(kinds)) < len(kinds) else []


def _read(name: str, value: str) -> Any:
    try:
        match name:
            case "codes":
                return int(value.replace(",", ""))
            case "share":
                return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError:
        pass
    return value


def _written(value: object) -> str:
    if isinstance(value, timedelta):
        return str(_WITHIN.dump_python(value, mode="json"))
    return f"{value:g}" if isinstance(value, float) else str(value)


def dumped(rules: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """Rules as JSON, without what their kinds don't have."""
    return [rule.model_dump(mode="json") for rule in rules]
