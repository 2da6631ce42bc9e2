"""The command that settles receipts."""

import json
from collections.abc import Iterator
from typing import IO, Any, Final, get_args

import click
from pydantic import ValidationError

from codewell.errors import ProgramRefused
from schemas.receipts import RECEIPTS_MAX, SendReceipt
from schemas.reports import ReceiptKind
from services.cli.output import json_option, print_json, print_table, with_database

_KINDS: Final = get_args(ReceiptKind)


@click.command()
@click.argument("request_id", required=False)
@click.option("--profile", "profile_id", help="Profile of the request.")
@click.option("--receipt", "kind", type=click.Choice(_KINDS), help="What became of the message.")
@click.option(
    "--file", "file", type=click.File(encoding="utf-8"),
    help="Receipts, one JSON object a line, as POST /receipts takes them; - is standard input.",
)  # fmt: skip
@json_option
def receipt(
    request_id: str | None, profile_id: str | None, kind: str | None, file: IO[str] | None, as_json: bool
) -> None:
    """Report what became of the message of request REQUEST_ID.

    Codes of failed sends come back; a repeated receipt gets the same answer.
    """
    if (request_id is None) == (file is None):
        raise click.UsageError("Give a REQUEST_ID or --file.")
    if file is None:
        if profile_id is None or kind is None:
            raise click.UsageError("A receipt needs --profile and --receipt.")
        given = [_checked({"request_id": request_id, "profile_id": profile_id, "receipt": kind}, "The receipt")]
    else:
        try:
            given = list(_lines(file))
        except UnicodeDecodeError as error:
            raise click.BadParameter("must be UTF-8 text.", param_hint="--file") from error
    rows = with_database(lambda connection, settings: _settle(connection, settings.returns_share_max, given))
    if as_json:
        for row in rows:
            print_json(row)
        return
    shown = [
        {"request_id": row["request_id"], **(code or {"program": None, "code": None, "outcome": "kept",
                                                      "reason": row["reason"], "due_at": None})}
        for row in rows for code in (row["codes"] or [None])
    ]  # fmt: skip
    print_table(shown, "No receipt was given.")


async def _settle(connection: Any, share_max: float, given: list[SendReceipt]) -> list[dict[str, Any]]:
    from uuid import UUID

    from codewell.audit import audit_log
    from codewell.returns.settle import Receipt, Returns, Settled

    rows = []
    returns = Returns(share_max, audit_log.command_actor())
    for start in range(0, len(given), RECEIPTS_MAX):
        some = given[start : start + RECEIPTS_MAX]
        receipts = [Receipt(UUID(one.request_id), one.profile_id, one.receipt) for one in some]
        settlement = await returns.settle(connection, receipts)
        for one, asked in zip(some, receipts, strict=True):
            settled = settlement.settled.get(asked, Settled([], "unknown_request"))
            codes = [code._asdict() for code in settled.codes]
            rows.append({**one.model_dump(), "codes": codes, "reason": settled.reason})
    return rows


def _lines(file: IO[str]) -> Iterator[SendReceipt]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                given = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ProgramRefused(f"Line {number} is not JSON: write one receipt a line.") from error
            yield _checked(given, f"Line {number}")


def _checked(given: object, what: str) -> SendReceipt:
    try:
        return SendReceipt.model_validate(given)
    except ValidationError as error:
        from codewell.validation import mistake

        raise ProgramRefused(f"{mistake(error.errors()[0], what)}. Nothing was settled.") from error
