"""Numbers of codes and lengths of time, as settings have them."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, Strict

CODES_MAX_LIMIT: Final = 2**62
TTL_MAX: Final = timedelta(days=36_500)


def refuse_numbers(example: str) -> BeforeValidator:
    """Refuses a number: pydantic would take it for seconds, which the JSON Schema does not say."""

    def refuse(given: object) -> object:
        if isinstance(given, int | float):
            raise ValueError(f"must be a text such as {example}")  # noqa: TRY004  pydantic wants a ValueError
        return given

    return BeforeValidator(refuse)


Count = Annotated[int, Strict(), Field(ge=1, le=CODES_MAX_LIMIT)]
Lifetime = Annotated[timedelta, Field(gt=timedelta(0), le=TTL_MAX), refuse_numbers("P30D")]
