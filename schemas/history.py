"""The history of a code, as the HTTP API answers it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from schemas.api import Code
from schemas.strict_model import StrictModel


class CodeEvent(StrictModel):
    """One event of a code's history; what does not belong to its kind, or is not known, is null.

    - `made`, `imported`: `origin` is why (pool, request, generate, hand, import, remote), `source` the kind of request
      (campaign, scenario), `import_id` and `file` the import. The time is exact to the minute.
    - `attached`: `profile_id` and `request_id`, the event's id or the one that the API made. `scope` names the
      campaign (`campaign:ID`), the scenario (`scenario:ID`) or a hash of its step (`step:HASH`), while the program
      gives the code again within it. Otherwise the event itself has the campaign or step: it is not stored. That
      further profiles got a shared code, or the same profile the same code again, is not listed. `asked` names the
      program that was asked, where this one gave the code as its fallback number `link`; null for a
      program of other access groups.
    - `held`, `released`, `activated`, `deactivated`: the `order_id` and `profile_id` that the till gave; `expires_at`
      of `held` is when the hold ends. The latest hundred.
    - `changed`: the names of what was `changed`, and the new `expires_at`.
    - `reissued`: this code was deleted, and its profile got the one at the place `other`; `replaces`: this code
      replaced the one at `other`. Both have the `reason` that was given.
    - `quarantined`: its send failed, and somebody may have seen it; `kept`: it left the quarantine and stays with its
      profile. Both have a `reason`, as answers to receipts have.
    - `by`: the token or command's user, where the audit log has it: not for attachments of the next code and
      activations over HTTP, nor for anything before the audit log.
    """

    at: datetime
    event: Literal[
        "made", "imported", "attached", "held", "released", "activated", "deactivated", "returned", "changed",
        "expired", "deleted", "reissued", "replaces", "quarantined", "kept",
    ]  # fmt: skip
    by: str | None
    origin: str | None
    source: str | None
    import_id: UUID | None
    file: str | None
    request_id: UUID | None
    profile_id: str | None
    scope: str | None
    changed: tuple[str, ...]
    expires_at: datetime | None
    order_id: str | None
    other: str | None
    reason: str | None
    asked: str | None
    link: int | None


class CodeHistory(StrictModel):
    """A code and its events, oldest first.

    `complete` false: the code returned to the pool before returns were linked (migration 0022), so that earlier events
    may be missing. Activations undone before that migration are missing in any case.
    """

    code: Code
    events: list[CodeEvent]
    complete: bool
