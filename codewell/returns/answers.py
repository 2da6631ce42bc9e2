"""Builds the answer to a receipt. Deterministic: a copy of the receipt gets the same bytes."""

from json.encoder import encode_basestring as quoted

from codewell.issuing.reply import answer_id, utc_text
from codewell.returns.settle import Receipt, Settled, SettledCode


def receipt_answer_id(receipt: Receipt, settled: Settled) -> str:
    """Event id of the answer: a UUID version 5 of the request's id and the receipt's kind.

    A report about another profile than the request's is no copy of the right one, so the profile counts too.
    """
    of = f"{receipt.request_id}:{receipt.kind}"
    return answer_id(f"{of}:{receipt.profile_id}" if settled.reason == "other_profile" else of)


def answer_data(receipt: Receipt, settled: Settled) -> str:
    """The answer's data (`CodesReturned`) as JSON text."""
    codes = ",".join(map(_code, settled.codes))
    reason = "null" if settled.reason is None else f'"{settled.reason}"'
    return (
        f'{{"request_id":"{receipt.request_id}","profile_id":{quoted(receipt.profile_id)},"receipt":"{receipt.kind}",'
        f'"codes":[{codes}],"reason":{reason}}}'
    )


def _code(code: SettledCode) -> str:
    due_at = "null" if code.due_at is None else f'"{utc_text(code.due_at)}"'
    return (
        f'{{"program":"{code.program}","code":{quoted(code.code)},"outcome":"{code.outcome}",'
        f'"reason":"{code.reason}","due_at":{due_at}}}'
    )
