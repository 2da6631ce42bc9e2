"""Decides one step of a till: who may use or hold a code. Pure; the caller has locked the code."""

from datetime import datetime
from typing import Final

from codewell.codes.state import code_state_reason
from codewell.errors import ProgramRefused
from codewell.reasons import ProblemReason
from codewell.redemption.model import CodeTally, TillRequest, TillRules, Use

_BY_CALL: Final = "call"
_BY_ORDER: Final = "order"


def decide(rules: TillRules, code: CodeTally, request: TillRequest) -> bool:
    """Apply the request to the tally, and return whether that changed it.

    A repeated request with an order changes nothing and is no error. Raises ProgramRefused with the reason against it;
    then nothing is changed.
    """
    before = (code.uses, code.holds, code.activated_at)
    match request.step:
        case "activate":
            _activate(rules, code, request)
        case "hold":
            _hold(rules, code, request)
        case "release":
            _release(rules, code, request)
        case "deactivate":
            _deactivate(rules, code, request)
        case "pay":
            _pay(rules, code, request)
        case "undo" | "undo_paid":
            _undo(rules, code, request)
    return before != (code.uses, code.holds, code.activated_at)


def _activate(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    own = _own(code, request)
    if own is None or own.used_at is None:
        _use(rules, code, request, own)


def _use(rules: TillRules, code: CodeTally, request: TillRequest, own: Use | None) -> None:
    _take(rules, code, request, own, "activated").used_at = rules.now
    code.uses += 1
    if rules.per_code is not None and code.uses >= rules.per_code:
        code.activated_at = rules.now


def _hold(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    own = _own(code, request)
    if own is not None and own.used_at is not None:
        raise ProgramRefused(f"This order has used {code.facts.code} already.", reason="code_used")
    held = _take(rules, code, request, own, "held")
    # An expired code can't be used.
    until = rules.now + request.ttl
    held.held_until = until if code.facts.expires_at is None else min(until, code.facts.expires_at)
    code.holds += 1


def _take(rules: TillRules, code: CodeTally, request: TillRequest, own: Use | None, done: str) -> Use:
    """The order's use of the code, which the caller completes; its living hold, if it had one, is counted no more."""
    is_held = own is not None and own.holds(rules.now)
    profile_id = request.profile_id or (own.profile_id if own is not None else None)
    _check_open(rules, code, done)
    _check_left(rules, code, is_held=is_held)
    mine = code.of_profile[profile_id] if profile_id is not None else 0
    if is_held and own is not None and own.profile_id == profile_id:
        mine -= 1
    _check_profile(rules, code, profile_id, mine)
    if own is not None and is_held:
        code.holds -= 1
        if own.profile_id is not None:
            code.of_profile[own.profile_id] -= 1
        own.give_to(profile_id)
        own.context = request.context or own.context
    else:
        own = _taken(rules, request, own, profile_id)
    if profile_id is not None:
        code.of_profile[profile_id] += 1
    if own.order_id is not None:
        code.of_order[own.order_id] = own
    code.change(own)
    return own


def _taken(rules: TillRules, request: TillRequest, lapsed: Use | None, profile_id: str | None) -> Use:
    """A new use, or the order's hold that has passed, taken anew."""
    taken = Use(None, request.order_id, profile_id, request.context, rules.per_code, rules.now, None)
    if lapsed is None:
        return taken
    lapsed.give_to(profile_id)
    lapsed.context = request.context or lapsed.context
    lapsed.per_code, lapsed.taken_at = rules.per_code, rules.now
    return lapsed


def _release(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    last = code.of_order.get(request.order_id or "")
    if last is None or (last.ended_at is not None and last.used_at is not None):
        raise ProgramRefused(f"This order does not hold {code.facts.code}.", reason="code_not_held")
    if last.ended_at is not None:
        return
    if last.used_at is not None:
        raise ProgramRefused(
            f"This order has used {code.facts.code}: take the use back with codes:deactivate.", reason="code_used"
        )
    _end(rules, code, last, _BY_CALL)


def _deactivate(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    text = code.facts.code
    if request.order_id is not None:
        last = code.of_order.get(request.order_id)
        if last is None or last.used_at is None:
            raise ProgramRefused(f"This order has not used {text}: there is no use to undo.", reason="code_not_used")
        if last.ended_at is None:
            _end(rules, code, last, _BY_CALL)
    elif code.lone:
        _end(rules, code, code.lone.pop(0), _BY_CALL)
    elif code.uses:
        raise ProgramRefused(
            f"{text} was used by several orders: name the one whose use is undone, with order_id.",
            reason="order_required",
        )
    elif code.activated_at is not None:
        code.activated_at, code.undoes_unrecorded, code.is_changed = None, True, True
    else:
        raise ProgramRefused(f"{text} is {code.facts.state}: there is no activation to undo.", reason="code_not_used")


def _pay(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    """Use what the order holds, held, or used until another event of it took that back. A released code is not used."""
    last = code.of_order.get(request.order_id or "")
    if last is None or last.ended_by == _BY_CALL or (last.ended_at is None and last.used_at is not None):
        return
    with_profile = request._replace(profile_id=request.profile_id or last.profile_id)
    _use(rules, code, with_profile, last if last.ended_at is None else None)


def _undo(rules: TillRules, code: CodeTally, request: TillRequest) -> None:
    """Release what the order holds, and give its use back if the program says so."""
    if rules.refund == "keep_used" and request.step == "undo_paid":
        _pay(rules, code, request)
        return
    last = code.of_order.get(request.order_id or "")
    if last is None or last.ended_at is not None:
        return
    if last.used_at is None or rules.refund == "give_back":
        _end(rules, code, last, _BY_ORDER)


def _end(rules: TillRules, code: CodeTally, use: Use, by: str) -> None:
    if use.used_at is not None:
        code.uses -= 1
        if rules.per_code is None or code.uses < rules.per_code:
            code.activated_at = None
    elif use.holds(rules.now):
        code.holds -= 1
    if use.profile_id is not None and (use.used_at is not None or use.holds(rules.now)):
        code.of_profile[use.profile_id] -= 1
    use.ended_at, use.ended_by = rules.now, by
    code.change(use)


def _own(code: CodeTally, request: TillRequest) -> Use | None:
    """The order's use or hold that has not ended."""
    found = code.of_order.get(request.order_id) if request.order_id is not None else None
    return None if found is None or found.ended_at is not None else found


def _check_open(rules: TillRules, code: CodeTally, done: str) -> None:
    state, text = code.facts.state, code.facts.code
    # An activation may have been undone just before, in the same batch.
    if state == "activated" and code.activated_at is not None:
        raise _used(code, code.activated_at)
    if state not in {"attached", "held", "activated"}:
        sentence = f"{text} is {state}: only an attached code can be {done}."
        raise ProgramRefused(sentence, reason=code_state_reason(state))
    if not rules.switched_on:
        sentence = f"{rules.name} is switched off or removed: its codes can't be {done} now."
        raise ProgramRefused(sentence, reason="program_inactive")
    if rules.valid_from is not None and rules.valid_from > rules.now:
        sentence = f"{rules.name} has not begun: its codes can't be {done} before {_utc(rules.valid_from)}."
        raise ProgramRefused(sentence, reason="program_not_started")


def _check_left(rules: TillRules, code: CodeTally, *, is_held: bool) -> None:
    if code.activated_at is not None or (rules.per_code is not None and code.uses >= rules.per_code):
        raise _used(code, code.activated_at)
    if not is_held and rules.per_code is not None and code.uses + code.holds >= rules.per_code:
        until = code.facts.held_until
        when = "" if until is None else f" until {_utc(until)} at the latest"
        raise ProgramRefused(f"{code.facts.code} is held by another order{when}: try again then.", reason="code_held")


def _check_profile(rules: TillRules, code: CodeTally, profile_id: str | None, mine: int) -> None:
    text = code.facts.code
    if profile_id is None:
        if rules.needs_profile:
            raise ProgramRefused(
                f"{rules.name} asks who uses its codes: give profile_id, the customer's id.", reason="profile_required"
            )
        return
    if rules.holder_only and profile_id not in code.holders:
        raise ProgramRefused(
            f"{text} belongs to another customer, and {rules.name} lets no other use it.", reason="not_the_holder"
        )
    if rules.per_profile is not None and mine >= rules.per_profile:
        raise ProgramRefused(
            f"This customer has used or holds {text} as often as one may ({rules.per_profile:,}).",
            reason="code_used_by_profile",
        )


def _used(code: CodeTally, at: datetime | None) -> ProgramRefused:
    text = code.facts.code
    if at is None:
        return ProgramRefused(f"{text} is used up: it was used {code.uses:,} times.", reason="code_used")
    return ProgramRefused(f"{text} is activated already: it was used at {_utc(at)}.", reason="code_used")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


REASONS: Final[tuple[ProblemReason, ...]] = (
    "code_held",
    "code_not_attached",
    "code_used",
    "code_used_by_profile",
    "not_the_holder",
    "profile_required",
    "program_inactive",
    "program_not_started",
)
"""The reasons against using or holding a code, beside those against any step."""
