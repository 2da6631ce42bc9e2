"""Everything Codewell refuses or cannot do.

CodewellError
├── TemplateInvalid       a code template that can't be read, is too small or can be guessed
├── ProgramRefused        a program's settings, or what was asked of a program, can't be
│   ├── ProgramUnknown    there is no such program
│   ├── CodeUnknown       the program never made or took in such a code
│   ├── ImportUnknown     there is no such import
│   ├── ProgramTaken      another program has that short name
│   └── RequestTaken      the id of a request was another request's
├── ProfileRefused        what was given can't be a profile's
│   └── ProfileUnknown    nothing is known of the profile
├── FileRefused           a file that can't be read, or is too large
├── RemoteFailed          a remote service gave no answer, or none that can be used; `retriable`
├── TokenRefused          a token can't be made or revoked
├── StackUnavailable      Postgres, Kafka, Java or the disk isn't there; `retriable`
│   └── NotTrusted        Postgres or Kafka and this program don't trust each other; waiting doesn't help
├── SettingsInvalid       a setting is missing or out of its bounds
├── ExtraMissing          a command needs libraries that are not installed
└── SchemaMismatch        the database's schema is older or newer than this program

The text of each is one sentence for a person, and says what to do. The command line prints it and exits with
status 1; nothing else needs to look at the class.
"""


class CodewellError(Exception):
    """The text says what is wrong and what to do about it."""

    retriable = False


class TemplateInvalid(CodewellError):
    """A code template that can't be read, has too few codes, or can be guessed."""


class ProgramRefused(CodewellError):
    """A program's settings, or what was asked of a program, break one of its rules."""


class CodeUnknown(ProgramRefused):
    """The program never made or took in such a code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"There is no code {code}: check its spelling; codes are case-sensitive.")


class ProgramUnknown(ProgramRefused):
    """No program has this short name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no program {name}: list the programs to see which exist.")


class ProgramTaken(ProgramRefused):
    """Another program has this short name."""


class RequestTaken(ProgramRefused):
    """The id of a request, or its idempotency key, came with another request before."""

    def __init__(self) -> None:
        super().__init__("This id or Idempotency-Key was used for another request: use a new one for each request.")


class ProfileRefused(CodewellError):
    """What was given can't be a profile's id, its fields or the name of one."""


class ProfileUnknown(ProfileRefused):
    """Nothing is known of this profile. Its id is not repeated: ids of customers are in no message."""

    def __init__(self) -> None:
        super().__init__("No fields are stored for this profile: import or put them first.")


class ImportUnknown(ProgramRefused):
    """No import has this id."""

    def __init__(self, import_id: object) -> None:
        super().__init__(f"There is no import {import_id}: use the id that was returned when it started.")


class FileRefused(CodewellError):
    """A file that can't be read as a table of codes, or is too large."""


class RemoteFailed(CodewellError):
    """A remote service gave no answer, or one that can't be used.

    The sentence is for whoever runs the service; it holds no code and no secret.
    """

    retriable = True

    def __init__(self, sentence: str, *, answered: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.answered = answered
        """Whether it answered with what can't be used, which the same request would get again."""
        self.wait_s = wait_s
        """How long the service asks to be left alone (s)."""


class TokenRefused(CodewellError):
    """A token's name is taken or can't be, or no token in force has it."""


class StackUnavailable(CodewellError):
    """Something the services stand on isn't there: Postgres, Kafka, Java, a port, the disk."""

    retriable = True


class NotTrusted(StackUnavailable):
    """Postgres or Kafka has a certificate that is not trusted, or does not take ours, or our user and password."""

    retriable = False


class SchemaMismatch(CodewellError):
    """The database's schema is older or newer than this program."""


class SettingsInvalid(CodewellError):
    """A setting is missing or out of its bounds."""


class ExtraMissing(CodewellError):
    """A command needs the libraries of an optional part of the distribution, and they are not installed."""
