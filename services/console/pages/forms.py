"""Forms that browsers post. Each has a `key`, a UUID made with the page, under which its step is done once."""

from typing import Final
from uuid import UUID, uuid4

from fastapi import Request
from starlette.datastructures import FormData

from services.console.http.problems import HttpProblem

_FIELDS_MAX: Final = 2_000
_PART_BYTES_MAX: Final = 256 * 1024
KEY: Final = "key"


class Form:
    """The fields of a posted form, as texts without spaces around them."""

    def __init__(self, data: FormData) -> None:
        # Browsers send the end of a line as CR LF, also of a text that they were given with LF alone.
        self._data = FormData(
            [
                (name, given.replace("\r\n", "\n") if isinstance(given, str) else given)
                for name, given in data.multi_items()
            ]
        )

    def text(self, name: str) -> str:
        """The field's text; "" when it is not there."""
        given = self._data.get(name, "")
        return given.strip() if isinstance(given, str) else ""

    def texts(self, name: str) -> list[str]:
        """All texts of a field that may come several times."""
        return [given.strip() for given in self._data.getlist(name) if isinstance(given, str)]

    def is_on(self, name: str) -> bool:
        """Whether a switch is on: browsers send it only then."""
        return name in self._data

    def items(self) -> list[tuple[str, str]]:
        """All fields with their texts, in the order of the form."""
        return [(name, given) for name, given in self._data.multi_items() if isinstance(given, str)]

    @property
    def key(self) -> str:
        """The form's idempotency key. Raises HttpProblem when it is missing or no UUID."""
        try:
            return str(UUID(self.text(KEY)))
        except ValueError:
            raise HttpProblem(
                "body_malformed", "This form has no key: open the page again, and send it anew."
            ) from None


async def read_form(request: Request) -> Form:
    """FastAPI dependency: the posted form. Raises HTTPException when it is malformed or too large."""
    return Form(await request.form(max_files=0, max_fields=_FIELDS_MAX, max_part_size=_PART_BYTES_MAX))


def new_key() -> str:
    """A key for a new form."""
    return str(uuid4())
