"""Makes a program's codes be found by texts that fold alike, once no two of them are; and adds templates to such a one.

The caller has locked the program's row, marked the program as changing, and writes the returned columns.
"""

from itertools import combinations
from typing import Any, Final

from codewell.codes import lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, TemplateInvalid
from codewell.minting.folding import Folding, alike
from codewell.minting.template import Template
from codewell.plurals import counted
from codewell.pool import folded_texts

# All are read under the program's lock, and noted by one transaction: some seconds.
TEXTS_MAX: Final = 500_000
_RUN: Final = 10_000
_NAMED_MAX: Final = 3

_TEMPLATES: Final = "SELECT version, template FROM template_version WHERE program_id = $1 ORDER BY version"
_COUNT: Final = """
    SELECT imported + CASE source ->> 'kind' WHEN 'remote' THEN made ELSE 0 END FROM program WHERE id = $1
    """
_TEXTS: Final = "SELECT text FROM code WHERE program_id = $1 AND text > $2 ORDER BY text LIMIT $3"
_FOLDED: Final = """
    SELECT folded, text FROM folded_text WHERE program_id = $1 AND folded > $2 ORDER BY folded LIMIT $3
    """


async def switch_on(codes: ProgramCodes, version: int) -> dict[str, Any]:
    """Fold all that the program has, and return the program's new columns. `version`: its template's, stored already.

    Raises TemplateInvalid and ProgramRefused where two codes fold alike, or there are more than TEXTS_MAX texts.
    """
    templates = await _templates(codes)
    count = await codes.connection.fetchval(_COUNT, codes.program_id)
    if count > TEXTS_MAX:
        raise ProgramRefused(
            f"The program has {counted(count, 'code')} from outside, and up to {TEXTS_MAX:,} can be folded afterwards: "
            "import the others into a new program with match fold.",
            reason="code_folds_alike",
            setting="match",
        )
    await _fold_texts(codes, templates)
    return {"texts_folded": count, "version_folded": version}


async def switch_off(codes: ProgramCodes) -> dict[str, Any]:
    """Forget how the program's texts fold, and return the program's new columns."""
    await codes.connection.execute("DELETE FROM folded_text WHERE program_id = $1", codes.program_id)
    return {"texts_folded": 0, "version_folded": None}


async def add_template(codes: ProgramCodes, version: int) -> dict[str, Any]:
    """Check the newest template of a folding program, and return the program's new columns. Raises as `switch_on`."""
    newest = (await _templates(codes))[-1]
    after = ""
    while rows := await codes.connection.fetch(_FOLDED, codes.program_id, after, _RUN):
        after = rows[-1]["folded"]
        _refuse([(row["text"], folded_texts.TEMPLATE_CODE) for row in rows if newest.can_be(row["folded"])])
    return {"version_folded": version}


async def _templates(codes: ProgramCodes) -> list[Folding]:
    """The foldings of all templates. Raises TemplateInvalid unless no two codes of them are alike."""
    rows = await codes.connection.fetch(_TEMPLATES, codes.program_id)
    found = [(row["template"], Folding.of(Template.parse(row["template"]))) for row in rows]
    for (one, first), (other, second) in combinations(found, 2):
        if first.meets(second):
            raise TemplateInvalid(
                f"Folding (match) could take codes of {one} and of {other} for the same, and codes of both templates "
                "stay valid: use a template of another length, or create a new program.",
                reason="template_folds_alike",
            )
    return [folding for _, folding in found]


async def _fold_texts(codes: ProgramCodes, templates: list[Folding]) -> None:
    after = ""
    while rows := await codes.connection.fetch(_TEXTS, codes.program_id, after, _RUN):
        texts = [row["text"] for row in rows]
        after = texts[-1]
        if templates:
            # Codes of a template that returned to the pool are found as the template's.
            likely = [text for text in texts if any(one.can_be(alike(text)) for one in templates)]
            own = await lookup.minted(codes, likely) if likely else {}
            texts = [text for text in texts if text not in own]
        _refuse(list((await folded_texts.clashes(codes.connection, codes.program_id, texts, templates)).items()))
        await folded_texts.add(codes.connection, codes.program_id, texts)


def _refuse(alike_pairs: list[tuple[str, str]]) -> None:
    if alike_pairs:
        named = "; ".join(f"{text} folds onto {onto}" for text, onto in alike_pairs[:_NAMED_MAX])
        raise ProgramRefused(
            f"Folding (match) would take two codes of the program for the same: {named}. Set match to exact, or create "
            "a new program without one of them.",
            reason="code_folds_alike",
            setting="match",
        )
