"""Imports: how a file is to be read, and what became of it."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.events import ShortName

Reason = Literal[
    "empty", "too_long", "unprintable", "twice_in_file", "already_in_program", "over_maximum", "bad_expiry",
    "bad_profile", "profile_has_code", "missing_field", "bad_field",
]  # fmt: skip
"""Why a row is not in the program."""
State = Literal["running", "stopped", "done", "refused", "undone"]
"""`stopped` goes on when the file is given again; `refused` is a file that can't be read, of which nothing stays."""

DELIMITERS: Final = (",", ";", "\t", "|")
Column = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,1000}$")]
"""A column by its name in the first row, or by its number, counted from 1."""


class ImportOptions(BaseModel):
    """How to read a file. Options that are left out or null are detected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Column | None = None
    profile_column: Column | None = None
    expiry_column: Column | None = None
    field_columns: dict[ShortName, Column] = {}
    encoding: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    sheet: Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,200}$")] | None = None
    header: bool | None = None


class Import(BaseModel):
    """An import. `rows` counts all rows read, with the header; `bad` counts rejected rows by reason."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    program: ShortName
    state: State
    file: str
    file_bytes: int
    options: ImportOptions
    rows: int
    imported: int
    attached: Annotated[int, Field(description="Imported codes that were attached at once.")]
    taken_back: Annotated[int, Field(description="Imported codes that an undo deleted.")]
    bad: dict[Reason, int]
    error: str | None
    started_at: datetime
    ended_at: datetime | None
