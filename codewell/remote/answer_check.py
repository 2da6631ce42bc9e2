"""Validates the answer of a remote service: one invalid field refuses the whole answer."""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from codewell.errors import RemoteFailed
from codewell.minting.template import CODE_CHARACTERS_MAX
from schemas.remote import RemoteAnswer, RemoteCode, RemoteRequest

_REASON_CHARACTERS_MAX: Final = 300


def check_answer(body: bytes, request: RemoteRequest) -> Sequence[RemoteCode]:
    """The codes of an answer to this request. Raises RemoteFailed, naming the invalid field.

    Only the database can check that the codes are new to the program and not expired.
    """
    try:
        answer = RemoteAnswer.model_validate_json(body)
    except ValidationError as error:
        raise _refused(_first_mistake(error)) from error
    if answer.request_id != request.request_id:
        raise _refused("request_id: must be that of the request")
    if len(answer.codes) > request.count:
        raise _refused(f"codes: {len(answer.codes):,} were delivered, but {request.count:,} were requested")
    seen: dict[str, int] = {}
    for place, one in enumerate(answer.codes):
        if len(one.code) > CODE_CHARACTERS_MAX or not one.code.isprintable() or one.code != one.code.strip():
            raise _refused(
                f"codes.{place}.code: must be 1 to {CODE_CHARACTERS_MAX} printable characters without outer spaces"
            )
        first = seen.setdefault(one.code, place)
        if first != place:
            raise _refused(f"codes.{place}.code: is the same as codes.{first}.code")
    return answer.codes


def _refused(why: str) -> RemoteFailed:
    return RemoteFailed(f"{why[:_REASON_CHARACTERS_MAX]}.", answered=True)


def _first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # A name that the service made up may contain anything, so it is shown as a Python literal.
    where = ".".join(part if part.isidentifier() or part.isdigit() else repr(part) for part in map(str, first["loc"]))
    return f"{where or 'The answer'}: {first['msg'].removeprefix('Value error, ')}"
