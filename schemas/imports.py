"""Imports: how a file is to be read, and what became of it."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, field_validator

from schemas import patterns
from schemas.events import ShortName
from schemas.moments import zone_named

Reason = Literal[
    "empty", "too_long", "unprintable", "twice_in_file", "already_in_program", "over_maximum", "bad_expiry",
    "bad_profile", "profile_has_code", "missing_field", "bad_field", "deleted_in_program", "number_cell", "date_cell",
    "boolean_cell", "rounded_number", "folds_alike", "placeholder", "formula", "head_again", "extra_cells",
    "encoding_unsure",
]  # fmt: skip
"""Why a row is not in the program."""
State = Literal["running", "stopped", "done", "refused", "undone"]
"""`stopped` goes on when the file is given again; `refused` is a file that can't be read, of which nothing stays."""

DELIMITERS: Final = (",", ";", "\t", "|")
DELIMITER_NAMES: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|"}
Column = Annotated[str, StringConstraints(pattern=patterns.COLUMN)]
"""A column by its name in the first row, or by its number, counted from 1."""
# Not an enum: generators of clients make a name of each value, and fail at a tab.
Delimiter = Annotated[
    Literal[",", ";", "\t", "|", "none"],
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 9}),
]


class ImportOptions(BaseModel):
    """How to read a file. Options that are left out or null are detected, and what is not certain is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Column | None = None
    profile_column: Column | None = None
    expiry_column: Column | None = None
    field_columns: dict[ShortName, Column] = {}
    encoding: Annotated[str, StringConstraints(pattern=patterns.ENCODING)] | None = None
    delimiter: Delimiter | None = None
    sheet: Annotated[str, StringConstraints(pattern=patterns.SHEET)] | None = None
    header: bool | None = None
    header_row: Annotated[int, Field(ge=1, le=100)] | None = None
    time_zone: Annotated[str, StringConstraints(pattern=patterns.TIME_ZONE)] | None = None
    plain_numbers: bool = False

    @field_validator("delimiter", mode="before")
    @classmethod
    def _by_name(cls, given: object) -> object:
        """A delimiter may be given by its name."""
        return DELIMITER_NAMES.get(given, given) if isinstance(given, str) else given

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, given: str | None) -> str | None:
        if given is not None:
            zone_named(given)
        return given


class ReadColumn(BaseModel):
    """A column: its number from 1, and its name in the head."""

    model_config = ConfigDict(frozen=True)

    number: int
    name: str | None


class Reading(BaseModel):
    """How a file was read: all that was given or detected."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["text", "xlsx", "xls"]
    encoding: Annotated[str | None, Field(description="Null for a workbook.")]
    delimiter: Annotated[str | None, Field(description="Null for a workbook, and for one column of whole lines.")]
    sheet: Annotated[str | None, Field(description="Null for a text file.")]
    hidden_sheets: Annotated[list[str], Field(description="Hidden sheets that were passed over.")]
    header_row: Annotated[int | None, Field(description="Row that names the columns, from 1; null if none does.")]
    skipped_rows: Annotated[int, Field(description="Rows before the first code: the head, titles, a line `sep=`.")]
    column: Annotated[ReadColumn, Field(description="Column of the codes.")]
    profile_column: ReadColumn | None
    expiry_column: ReadColumn | None
    field_columns: dict[ShortName, ReadColumn]
    time_zone: Annotated[str, Field(description="Zone of expiries without one of their own.")]


class Import(BaseModel):
    """An import. `rows` counts the rows read, without head and titles; `bad` counts rejected rows by reason."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    program: ShortName
    state: State
    file: str
    file_bytes: int
    options: ImportOptions
    reading: Annotated[Reading | None, Field(description="Null for an import of an earlier version.")]
    rows: int
    imported: int
    attached: Annotated[int, Field(description="Imported codes that were attached at once.")]
    taken_back: Annotated[int, Field(description="Imported codes that an undo deleted.")]
    bad: dict[Reason, int]
    case_variants: Annotated[
        int, Field(description="Imported codes that differ from an earlier one of the file only in case.")
    ]
    error: str | None
    share_read: Annotated[
        float | None,
        Field(ge=0, le=1, description="How much of the file has been read, of 1; null where that is not known."),
    ]
    started_at: datetime
    ended_at: datetime | None


class Upload(BaseModel):
    """A file that waits for its columns to be chosen, until `kept_until`."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    program: ShortName
    file: str
    file_bytes: int
    kept_until: datetime


class PreviewColumn(BaseModel):
    """A column of a file with its first cells."""

    number: int
    name: str | None
    samples: list[str]


class PreviewCode(BaseModel):
    """A row that would become a code."""

    row: int
    code: str
    profile_id: str | None
    expires_at: datetime | None
    fields: dict[ShortName, str]


class PreviewBadRow(BaseModel):
    """A row that would be rejected."""

    row: int
    code: str
    reason: Reason
    detail: str


class ImportPreview(BaseModel):
    """What an import of the file would do, from its first rows. Nothing is changed."""

    reading: Reading
    columns: list[PreviewColumn]
    checked_rows: Annotated[int, Field(description="Rows that were looked at, at most 1,000.")]
    good: int
    bad: dict[Reason, int]
    case_variants: int
    codes: Annotated[list[PreviewCode], Field(description="The first rows that would become codes.")]
    bad_rows: Annotated[list[PreviewBadRow], Field(description="The first rows that would be rejected.")]


class FirstRows(BaseModel):
    """The first rows of a file as it was read, or as it may be read where that is not certain."""

    kind: Literal["text", "xlsx", "xls"]
    encoding: str | None
    delimiter: str | None
    sheet: str | None
    header_row: int | None
    width: int
    names: list[str]
    first_row: Annotated[int, Field(description="Number of the first of `rows` in the file, from 1.")]
    rows: list[list[str]]


class UploadPreview(BaseModel):
    """A staged file: its first rows, and what an import with the chosen options would do.

    `check` null: the file does not tell for certain how to read it, or an option does not fit; `refusal` says what to
    do.
    """

    upload: Upload
    table: FirstRows
    check: ImportPreview | None
    refusal: str | None
