"""All errors of Codewell.

CodewellError
├── TemplateInvalid       a code template is malformed, too small or guessable
├── ProgramRefused        a program's settings, or a request to a program, break a rule
│   ├── ProgramUnknown    there is no such program
│   ├── CodeUnknown       the program never made or imported such a code
│   ├── ImportUnknown     there is no such import
│   ├── ProgramTaken      another program has that short name
│   └── RequestTaken      the id of a request was used by another request
├── ProfileRefused        a profile's id or fields are invalid
│   └── ProfileUnknown    there is no data of the profile
├── FileRefused           a file is unreadable or too large
├── RemoteFailed          a remote service gave no answer, or an invalid one; `retriable`
├── TokenRefused          a token can't be created or revoked
├── StackUnavailable      Postgres, Kafka, Java or the disk is unavailable; `retriable`
│   └── NotTrusted        TLS or authentication with Postgres or Kafka failed; waiting does not help
├── SettingsInvalid       a setting is missing or out of bounds
├── ExtraMissing          a command needs libraries that are not installed
└── SchemaMismatch        the database's schema is older or newer than this version

The message of each is one sentence for users, and says what to do. The command line prints it and exits with
status 1; most code needs no distinction between the classes.
"""


class CodewellError(Exception):
    """Base class. The message says what is wrong and what to do about it."""

    retriable = False


class TemplateInvalid(CodewellError):
    """A code template is malformed, has too few codes, or is guessable."""


class ProgramRefused(CodewellError):
    """A program's settings, or a request to a program, break one of its rules."""


class CodeUnknown(ProgramRefused):
    """The program never made or imported such a code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"There is no code {code}: check its spelling; codes are case-sensitive.")


class ProgramUnknown(ProgramRefused):
    """No program has this short name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no program {name}: list the programs to see which exist.")


class ProgramTaken(ProgramRefused):
    """Another program has this short name."""


class RequestTaken(ProgramRefused):
    """The id of a request, or its idempotency key, was used by another request."""

    def __init__(self) -> None:
        super().__init__("This id or Idempotency-Key was used for another request: use a new one for each request.")


class ProfileRefused(CodewellError):
    """A profile's id, its fields or a field's name are invalid."""


class ProfileUnknown(ProfileRefused):
    """There is no data of this profile. The message omits the id: no message contains ids of customers."""

    def __init__(self) -> None:
        super().__init__("No fields are stored for this profile: import or put them first.")


class ImportUnknown(ProgramRefused):
    """No import has this id."""

    def __init__(self, import_id: object) -> None:
        super().__init__(f"There is no import {import_id}: use the id that was returned when it started.")


class FileRefused(CodewellError):
    """A file can't be read as a table of codes, or is too large."""


class RemoteFailed(CodewellError):
    """A remote service gave no answer, or an invalid one.

    The message is for the service's operator; it contains no code and no secret.
    """

    retriable = True

    def __init__(self, sentence: str, *, answered: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.answered = answered
        """Whether the service gave an invalid answer, which a repeated request would get again."""
        self.wait_s = wait_s
        """The wait that the service asks for (s)."""


class TokenRefused(CodewellError):
    """A token's name is taken or invalid, or no active token has it."""


class StackUnavailable(CodewellError):
    """A dependency is unavailable: Postgres, Kafka, Java, a port, the disk."""

    retriable = True


class NotTrusted(StackUnavailable):
    """Postgres or Kafka has an untrusted certificate, or rejects our certificate or our user and password."""

    retriable = False


class SchemaMismatch(CodewellError):
    """The database's schema is older or newer than this version."""


class SettingsInvalid(CodewellError):
    """A setting is missing or out of bounds."""


class ExtraMissing(CodewellError):
    """A command needs the libraries of an optional extra that is not installed."""
