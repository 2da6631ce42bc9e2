"""Validates the answer of a remote service: one invalid field refuses the whole answer."""

from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from codewell.errors import RemoteFailed
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.validation import first_mistake, place_of
from schemas.remote import RemoteAnswer, RemoteCode, RemoteRequest

_REASON_CHARACTERS_MAX: Final = 300


def check_answer(body: bytes, request: RemoteRequest) -> Sequence[RemoteCode]:
    """The codes of an answer to this request. Raises RemoteFailed, naming the invalid field.

    Only the database can check that the codes are new to the program and not expired.
    """
    try:
        answer = RemoteAnswer.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        field = place_of(error.errors(include_url=False)[0]["loc"])
        raise _refused(field, first_mistake(error, "The answer")) from error
    if answer.request_id != request.request_id:
        raise _refused("request_id", "request_id: must be that of the request")
    if len(answer.codes) > request.count:
        words = f"{len(answer.codes):,} were delivered, but {request.count:,} were requested"
        raise _refused("codes", f"codes: {words}")
    texts = [one.code for one in answer.codes]
    if not (_all_fit(texts) and len(set(texts)) == len(texts)):
        _check_each(texts)
    return answer.codes


def _all_fit(texts: Sequence[str]) -> bool:
    """Whether no text can be one that `_fits` refuses; cheaper than to ask for each."""
    joined = "".join(texts)
    return joined.isprintable() and " " not in joined


def _fits(text: str) -> bool:
    return text.isprintable() and text == text.strip()


def _check_each(texts: Sequence[str]) -> None:
    """Raise RemoteFailed for the first text that doesn't fit, or is there twice."""
    seen: dict[str, int] = {}
    for place, text in enumerate(texts):
        if not _fits(text):
            raise _refused(
                f"codes.{place}.code",
                f"codes.{place}.code: must be 1 to {CODE_CHARACTERS_MAX} printable characters without outer spaces",
            )
        first = seen.setdefault(text, place)
        if first != place:
            raise _refused(f"codes.{place}.code", f"codes.{place}.code: is the same as codes.{first}.code")


def _refused(field: str, why: str) -> RemoteFailed:
    return RemoteFailed(f"{why[:_REASON_CHARACTERS_MAX]}.", answered=True, field=field or None)
