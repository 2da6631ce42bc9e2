"""What a webhook may subscribe to is what happens: alerts, and the life cycle of codes."""

import re

from schemas import lifecycle
from schemas.webhooks import ALERT_TYPES, EVENT_TYPES

# Of the stream's beginning, which is for those that read all of it.
_OF_EPOCHS = {"codes-epoch-started", "codes-epoch-ready", "codes-snapshot", "code-snapshot"}


def test_webhooks_take_each_type_of_the_life_cycle_but_those_of_epochs() -> None:
    types = [value for value in vars(lifecycle).values() if isinstance(value, str) and value.endswith(".v1")]
    names = {re.fullmatch(r"dev\.codewell\.([a-z-]+)\.v1", one)[1] for one in types}  # type: ignore[index]
    assert names >= _OF_EPOCHS
    assert set(EVENT_TYPES) == (names - _OF_EPOCHS) | set(ALERT_TYPES)
    assert len(EVENT_TYPES) == len(set(EVENT_TYPES))
