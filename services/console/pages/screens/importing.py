"""Import from file: upload it, choose its columns, follow its import, undo it."""

import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from schemas.api import Page
from schemas.imports import Import, ImportOptions, Upload, UploadPreview
from schemas.overview import ProgramStock
from services.console.pages import forms
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.import_words import IMPORT_STATES, REASONS, columns_of
from services.console.pages.masking import Masking
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_ROWS: Final = 10
_FIELD: Final = "field."
# What commands call an option, in the sentences of the API.
_OPTION_NAMES: Final = re.compile(r" \((?:--[^)]*)\)")
_PLAIN: Final = ("column", "profile_column", "expiry_column", "encoding", "delimiter", "sheet", "time_zone")


@router.get("/programs/{name}/import")
async def show_upload(visit: CurrentVisit, name: str, cursor: str | None = None) -> Response:
    """Where to drop a file, and the imports so far."""
    visit.require("read")
    return await _upload_page(visit, name, cursor=cursor)


@router.post("/programs/{name}/import")
async def upload(visit: CurrentVisit, request: Request, name: str) -> Response:
    """Take the file as it comes, and lead to the choice of its columns."""
    visit.require("write")
    await _program(visit, name)
    headers = [(key, value) for key, value in request.headers.raw if key in {b"content-type", b"content-length"}]
    try:
        answer = await visit.api.upload(f"/programs/{part(name)}/uploads", request.receive, headers)
    except ApiRefusal as refusal:
        if refusal.status in {401, 403, 404}:
            raise
        error = _plain(refusal.detail)
        if "file" in refusal.errors:
            error = _("Choose a file first.")
        return await _upload_page(visit, name, error=error)
    staged = Upload.model_validate_json(answer)
    return visit.go(f"/programs/{part(name)}/import/{staged.id}")


@router.get("/programs/{name}/import/{upload_id:uuid}")
async def show_columns(visit: CurrentVisit, request: Request, name: str, upload_id: UUID) -> Response:
    """The first rows of the file, the choice of its columns, and what an import would do."""
    visit.require("write")
    return await _columns_page(visit, name, upload_id, dict(request.query_params), forms.new_key())


@router.post("/programs/{name}/import/{upload_id:uuid}")
async def begin_import(visit: CurrentVisit, form: PostedForm, name: str, upload_id: UUID) -> Response:
    """Begin the import, once for the form's key."""
    visit.require("write")
    given, key = dict(form.items()), form.key
    try:
        options = _options(given)
        path = f"/programs/{part(name)}/uploads/{upload_id}:import"
        answer = await visit.api.send("POST", path, options.model_dump(), key=key)
    except ValidationError:
        return await _columns_page(visit, name, upload_id, given, forms.new_key(), error=_("Check the entries."))
    except ApiRefusal as refusal:
        if refusal.status in {401, 403, 404}:
            raise
        key = key if refusal.status >= 500 else forms.new_key()
        return await _columns_page(visit, name, upload_id, given, key, error=_plain(refusal.detail))
    return visit.go(f"/programs/{part(name)}/imports/{Import.model_validate_json(answer).id}")


@router.get("/programs/{name}/imports/{import_id:uuid}")
async def show_import(visit: CurrentVisit, name: str, import_id: UUID) -> Response:
    """How far an import is, and what became of its rows."""
    visit.require("read")
    now = await _program(visit, name)
    found = await visit.api.get(f"/imports/{import_id}", Import)
    # The import of another program, which may have other rules, is not at this address.
    if found.program != now.program.name:
        return visit.go(f"/programs/{part(found.program)}/imports/{import_id}")
    percent = None if found.share_read is None else int(100 * found.share_read)
    return visit.render(
        "screens/import.html", now=now, program=now.program, found=found, states=IMPORT_STATES, reasons=REASONS,
        percent=percent,
    )  # fmt: skip


@router.get("/programs/{name}/imports/{import_id:uuid}/bad-rows.csv")
async def download_bad_rows(visit: CurrentVisit, name: str, import_id: UUID) -> Response:
    """The bad rows as a file. It has texts of codes, so it is for those who may see these, and recorded."""
    await _program(visit, name)
    async with visit.here.pool.acquire() as connection:
        await Masking.shown(connection, visit.session.caller, name, import_id=str(import_id))
    return visit.api.stream(f"/imports/{import_id}/bad-rows.csv")


@router.post("/programs/{name}/imports/{import_id:uuid}/undo")
async def undo_import(visit: CurrentVisit, form: PostedForm, name: str, import_id: UUID) -> Response:
    """Take back the codes of an import that are not attached."""
    visit.require("write")
    await visit.api.send("POST", f"/imports/{import_id}:undo", key=form.key)
    return visit.go(f"/programs/{part(name)}/imports/{import_id}")


async def _upload_page(visit: Visit, name: str, *, cursor: str | None = None, error: str = "") -> Response:
    now = await _program(visit, name)
    found = await visit.api.get(f"/programs/{part(name)}/imports", Page[Import], {"limit": _ROWS, "cursor": cursor})
    return visit.render(
        "screens/import_file.html", status=422 if error else 200, now=now, program=now.program, imports=found.items,
        next_cursor=found.next_cursor, cursor=cursor, error=error, states=IMPORT_STATES, reasons=REASONS,
        bytes_max=visit.here.upload_bytes_max,
    )  # fmt: skip


async def _columns_page(
    visit: Visit, name: str, upload_id: UUID, given: Mapping[str, str], key: str, error: str = ""
) -> Response:
    now = await _program(visit, name)
    path = f"/programs/{part(name)}/uploads/{upload_id}:preview"
    try:
        options = _options(given)
    except ValidationError:
        options, error = ImportOptions(), error or _("Check the entries: one of them can't be read.")
    answer = await visit.api.send("POST", path, options.model_dump())
    found = UploadPreview.model_validate_json(answer)
    return visit.render(
        "screens/import_columns.html", status=422 if error else 200, now=now, program=now.program, found=found,
        table=found.table, check=found.check, columns=columns_of(found), options=options, key=key, error=error,
        refusal=_plain(found.refusal or ""), reasons=REASONS,
    )  # fmt: skip


def _options(given: Mapping[str, str]) -> ImportOptions:
    """The options of a form or an address. Raises ValidationError."""
    chosen: dict[str, object] = {name: given[name].strip() for name in _PLAIN if given.get(name, "").strip()}
    if (header := given.get("header", "")) in {"yes", "no"}:
        chosen["header"] = header == "yes"
    if given.get("plain_numbers"):
        chosen["plain_numbers"] = True
    chosen["field_columns"] = {
        name.removeprefix(_FIELD): text.strip()
        for name, text in given.items()
        if name.startswith(_FIELD) and text.strip()
    }
    return ImportOptions.model_validate(chosen)


async def _program(visit: Visit, name: str) -> ProgramStock:
    return await visit.api.get(f"/overview/{part(name)}", ProgramStock)


def _plain(sentence: str) -> str:
    return _OPTION_NAMES.sub("", sentence)
