"""Which texts stand for a code of a program."""

from typing import Annotated, Literal

from pydantic import Field

Match = Annotated[
    Literal["exact", "fold"],
    Field(
        description="Which texts stand for a code: `exact`, its own only; `fold`, also those that differ in case, "
        "spaces, dashes, or O for 0, I and L for 1 where the alphabet lacks the letter."
    ),
]
