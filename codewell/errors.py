"""All errors of Codewell.

CodewellError
├── TemplateInvalid       a code template is malformed, too small or guessable
├── ProgramRefused        a program's settings, or a request to a program, break a rule
│   ├── ProgramUnknown    there is no such program
│   ├── CodeUnknown       the program never made or imported such a code
│   ├── OrderUnknown      no code is held or used by the order
│   ├── ImportUnknown     there is no such import
│   ├── ChangeUnknown     there is no such change of many codes
│   ├── UploadUnknown     there is no such file that waits for its import
│   ├── ReservationUnknown  the program has no such reservation
│   ├── ReservationShort  fewer codes can be reserved than were asked for
│   ├── WebhookUnknown    there is no such endpoint of webhooks, or the one that asks may not see it
│   ├── ProgramTaken      another program has that short name
│   └── RequestTaken      the id of a request was used by another request
├── ProfileRefused        a profile's id or fields are invalid
│   └── ProfileUnknown    there is no data of the profile
├── FileRefused           a file is unreadable or too large
│   └── FileUncertain     it does not tell for certain how to read it
├── RemoteFailed          a remote service gave no answer, or an invalid one; `retriable`
├── RegistryRefused       a schema registry is unavailable, or refuses a schema
├── TokenRefused          a token can't be created or revoked
│   └── TokenUnknown      there is no such token, or the one that asks may not see it
├── StackUnavailable      Postgres, Kafka, Java or the disk is unavailable; `retriable`
│   ├── SchemaLocked      a migration waits for a lock that somebody else holds
│   └── NotTrusted        TLS or authentication with Postgres or Kafka failed; waiting does not help
├── SettingsInvalid       a setting is missing or out of bounds
├── ExtraMissing          a command needs libraries that are not installed
└── SchemaMismatch        the database's schema is older than this version, or takes newer ones only

The message of each is one sentence for users, and says what to do. The command line prints it and exits with
status 1; most code needs no distinction between the classes. Each error has a `reason`, one of `codewell.reasons`,
which says how to add one; the HTTP API answers with it. `ProgramRefused` needs one at each place that raises it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from codewell.reasons import ProblemReason

if TYPE_CHECKING:
    # Importing pydantic takes longer than most commands.
    from schemas.reservations import ReservationFigures

_LIMITS: Final[Mapping[str, str]] = {
    "maximum": "the program's maximum",
    "stock": "the codes that there are",
    "remote": "the most that one order to the remote service may have",
    "validity": "codes that expire before send_at",
}


class CodewellError(Exception):
    """Base class. The message says what is wrong and what to do about it; `reason` names it for programs."""

    retriable = False
    reason: ProblemReason = "unavailable"
    setting: str | None = None
    """The setting of a program that has to change, as a path in its JSON such as `source.template`."""

    members: Mapping[str, object] = MappingProxyType({})
    """Further members of the problem that the HTTP API answers with."""

    def __init__(self, sentence: str, *, reason: ProblemReason | None = None, setting: str | None = None) -> None:
        super().__init__(sentence)
        if reason is not None:
            self.reason = reason
        if setting is not None:
            self.setting = setting


class TemplateInvalid(CodewellError):
    """A code template is malformed, has too few codes, or is guessable."""

    reason: ProblemReason = "template_invalid"
    setting = "source.template"
    position: int | None = None
    """The character of the template, from 1, at which the mistake is; None if it is in no one place."""


class ProgramRefused(CodewellError):
    """A program's settings, or a request to a program, break one of its rules."""

    reason: ProblemReason = "refused"


class CodeUnknown(ProgramRefused):
    """The program never made or imported such a code."""

    reason: ProblemReason = "code_unknown"

    def __init__(self, code: str) -> None:
        super().__init__(f"There is no code {code}: check its spelling; codes are case-sensitive.")


class OrderUnknown(ProgramRefused):
    """No code is, or was, held or used by this order."""

    reason: ProblemReason = "order_unknown"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"No code is held or used by the order {order_id}: check its id.")


class ProgramUnknown(ProgramRefused):
    """No program has this short name."""

    reason: ProblemReason = "program_unknown"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no program {name}: list the programs to see which exist.")


class ProgramTaken(ProgramRefused):
    """Another program has this short name."""

    reason: ProblemReason = "program_taken"
    setting = "name"


class RequestTaken(ProgramRefused):
    """The id of a request, or its idempotency key, was used by another request."""

    reason: ProblemReason = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This id or Idempotency-Key was used for another request: use a new one for each request.")


class ProfileRefused(CodewellError):
    """A profile's id, its fields or a field's name are invalid."""

    reason: ProblemReason = "profile_invalid"


class ProfileUnknown(ProfileRefused):
    """There is no data of this profile. The message omits the id: no message contains ids of customers."""

    reason: ProblemReason = "profile_unknown"

    def __init__(self) -> None:
        super().__init__("No fields are stored for this profile: import or put them first.")


class UploadUnknown(ProgramRefused):
    """No staged file has this id, or its time is over."""

    reason: ProblemReason = "import_unknown"

    def __init__(self) -> None:
        super().__init__("This file is not kept any more: choose it again. A file waits an hour for its import.")


class ImportUnknown(ProgramRefused):
    """No import has this id."""

    reason: ProblemReason = "import_unknown"

    def __init__(self, import_id: object) -> None:
        super().__init__(f"There is no import {import_id}: use the id that was returned when it started.")


class ChangeUnknown(ProgramRefused):
    """No change of many codes has this id."""

    reason: ProblemReason = "change_unknown"

    def __init__(self, change_id: object) -> None:
        super().__init__(f"There is no change {change_id}: use the id that was returned when it started.")


class ReservationUnknown(ProgramRefused):
    """The program has no reservation with this id."""

    reason: ProblemReason = "reservation_unknown"

    def __init__(self, reservation_id: object) -> None:
        super().__init__(
            f"There is no reservation {reservation_id}: list the program's reservations to see which exist."
        )


class ReservationShort(ProgramRefused):
    """Fewer codes can be reserved than were asked for; `figures` says how many, and why."""

    reason: ProblemReason = "reservation_short"

    def __init__(self, program: str, figures: "ReservationFigures") -> None:
        super().__init__(
            f"{program} can set aside {figures.reserved:,} of {figures.count:,} codes; {figures.shortfall:,} are "
            f"missing, because of {_LIMITS[figures.limit or 'stock']}. Reserve fewer, with partial whatever there is, "
            "or remove that limit."
        )
        self.members = {"figures": figures.model_dump()}


class WebhookUnknown(ProgramRefused):
    """No webhook has this id, or the one that asks may not see it."""

    reason: ProblemReason = "webhook_unknown"

    def __init__(self, webhook_id: object) -> None:
        super().__init__(f"There is no webhook {webhook_id}: list the webhooks to see which exist.")


class FileRefused(CodewellError):
    """A file can't be read as a table of codes, or is too large."""

    reason: ProblemReason = "file_invalid"


class FileUncertain(FileRefused):
    """A file does not tell for certain how to read it: an option decides."""

    reason: ProblemReason = "file_uncertain"


class RemoteFailed(CodewellError):
    """A remote service gave no answer, or an invalid one.

    The message is for the service's operator; it contains no code and no secret.
    """

    reason: ProblemReason = "remote_failed"

    retriable = True

    def __init__(self, sentence: str, *, answered: bool = False, wait_s: float = 0.0, field: str | None = None) -> None:
        super().__init__(sentence)
        self.field = field
        """The path of the invalid field of an answer, as `codes.0.code`."""
        self.answered = answered
        """Whether the service gave an invalid answer, which a repeated request would get again."""
        self.wait_s = wait_s
        """The wait that the service asks for (s)."""


class RegistryRefused(CodewellError):
    """A schema registry is unavailable, or refuses a schema."""


class TokenRefused(CodewellError):
    """A token's name is taken or invalid, or no active token has it."""

    reason: ProblemReason = "refused"


class TokenUnknown(TokenRefused):
    """No token in force has this id, or the one that asks may not see it."""

    reason: ProblemReason = "token_unknown"

    def __init__(self, token_id: object) -> None:
        super().__init__(f"There is no token with the id {token_id}: list the tokens to see which are in force.")


class StackUnavailable(CodewellError):
    """A dependency is unavailable: Postgres, Kafka, Java, a port, the disk."""

    retriable = True


class NotTrusted(StackUnavailable):
    """Postgres or Kafka has an untrusted certificate, or rejects our certificate or our user and password."""

    retriable = False


class SchemaLocked(StackUnavailable):
    """A migration could not have a lock in time; the message says who holds it."""


class SchemaMismatch(CodewellError):
    """The database's schema is older than this version, or takes newer ones only."""


class SettingsInvalid(CodewellError):
    """A setting is missing or out of bounds."""


class ExtraMissing(CodewellError):
    """A command needs the libraries of an optional extra that is not installed."""
