"""Programs that fold: a code is found however it is typed, and no two codes of a program are alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.codes import folding_switch, lifecycle, possible_texts, typed
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError, RemoteFailed, TemplateInvalid
from codewell.imports import undo
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.minting.folding import alike
from codewell.pool import folded_texts
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.redemption import till
from schemas.remote import RemoteCode
from tests.support.factories import OFF, message, program
from tests.support.import_runs import Files, lines
from tests.support.remote_programs import remote, store, taken

SAFE: dict[str, Any] = {"source": {"kind": "template", "template": "S-{safe 4}-{safe 4}"}, "codes_max": 1_000}
IMPORT: dict[str, Any] = {**OFF, "source": {"kind": "import"}}
WAYS: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    lambda code: code.replace("-", ""),
    lambda code: f" {code.replace('-', chr(0x2013)).lower()}{chr(0x200B)}",
)


async def text(codes: ProgramCodes, given: str) -> str | None:
    found = await typed.find(codes, given)
    return None if found is None else found.code


async def refused(attempt: Any, reason: str) -> str:
    with pytest.raises(CodewellError) as error:
        await attempt
    assert error.value.reason == reason
    return str(error.value)


async def test_codes_of_a_template_are_found_in_each_state(
    connection: Connection, minters: Minters, claims: Claims
) -> None:
    spring = await program(connection, minters, **SAFE, **OFF, match="fold")
    plain = await program(connection, minters, "PLAIN", **SAFE, **OFF)
    await generate(connection, minters, spring.id, 20, None)
    await generate(connection, minters, plain.id, 1, None)
    codes = ProgramCodes(connection, minters, spring.id)
    minter = await codes.minter(1)
    first, second, third, *_ = minter.mint(0, 20)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])
    assert (await lifecycle.detach(codes, second.lower())).code == second
    assert (await till.activate(codes, third.replace("-", " ").lower())).code == third
    await refused(till.activate(codes, third.lower()), "code_used")
    assert (await lifecycle.delete(codes, minter.mint(9, 1)[0].lower())).state == "deleted"

    for code, state in (
        (first, "attached"),
        (second, "pooled"),
        (third, "activated"),
        (minter.mint(9, 1)[0], "deleted"),
    ):
        for way in WAYS:
            found = await typed.find(codes, way(code))
            assert found is not None, way(code)
            assert (found.code, found.state) == (code, state)
    assert await text(codes, minter.mint(20, 1)[0].lower()) is None
    assert [one.text for one in await typed.meant_all(codes, [second.lower(), f" {first}"])] == [second, first]
    for odd in ("", "-", "\u202e", "\0", "\ud800", "S" * 10_000, "-" * 10_000):
        assert await text(codes, odd) is None

    other = ProgramCodes(connection, minters, plain.id)
    exact = (await other.minter(1)).mint(0, 1)[0]
    assert await text(other, f" {exact} ") == exact
    assert await text(other, exact.lower()) is None
    assert await audit(connection) == []


async def test_the_negative_cache_lets_pass_what_folds_to_a_code(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **SAFE, **OFF, match="fold")
    await generate(connection, minters, spring.id, 20, None)
    bounds = await possible_texts.limits(codes := ProgramCodes(connection, minters, spring.id))
    assert bounds is not None
    minter = await codes.minter(1)

    none = [minter.mint(minter.numbers - 1, 1)[0].lower(), "S-2222", "-" * 1_000]
    ways = [way(minter.mint(3, 1)[0]) for way in WAYS]
    assert bounds.exclude_all([*none, *ways]) == [True] * len(none) + [False] * len(ways)
    changes = {"match": "exact"}
    assert (await programs.update(connection, minters, "SPRING", changes, 10)).match == "exact"
    bounds = await possible_texts.limits(codes)
    assert bounds is not None
    assert bounds.exclude_all([minter.mint(3, 1)[0].lower()]) == [True]


async def test_texts_of_files_that_are_alike_are_bad_rows(
    connection: Connection, minters: Minters, claims: Claims, tmp_path: Path
) -> None:
    files = Files(connection, minters, tmp_path)
    spring = await program(connection, minters, **IMPORT, match="fold")
    codes = ProgramCodes(connection, minters, spring.id)

    done = await files.bring_in(
        lines(["Code", "AB-12", "ab12", "AB-I2", "---", "AB-12", "CD\u200b-34", "Straße", "ÜO"])
    )

    assert await files.bad(done) == [
        (3, "ab12", "folds_alike"), (4, "AB-I2", "folds_alike"), (5, "---", "folds_alike"),
        (6, "AB-12", "twice_in_file"), (7, "CD\u200b-34", "unprintable"),
    ]  # fmt: skip
    assert await files.texts() == ["AB-12", "Straße", "ÜO"]
    assert [await text(codes, one) for one in ("ab12", "a b l 2", "STRASSE", "ü0", "AB-12", "AB13")] == [
        "AB-12", "AB-12", "Straße", "ÜO", "AB-12", None,
    ]  # fmt: skip
    again = await files.bring_in(lines(["Code", "A-B-1-2", "AB-12", "EF-56"]))
    assert [reason for *_, reason in await files.bad(again)] == ["folds_alike", "already_in_program"]
    # A code that was given and returned keeps its text, and one that an undone import takes back frees it.
    await claims.attach([message("SPRING")])
    await lifecycle.detach(codes, "AB12")
    assert await text(codes, "ab 12") == "AB-12"
    assert await audit(connection) == []
    await undo.undo(connection, again.id)
    assert await text(codes, "ef56") is None
    assert (await files.bring_in(lines(["Code", "e-f-5-6"]))).imported == 1
    assert await text(codes, "EF-56") == "e-f-5-6"
    assert await audit(connection) == []


async def test_texts_by_hand_and_from_files_keep_clear_of_the_template(
    connection: Connection, minters: Minters, tmp_path: Path
) -> None:
    files = Files(connection, minters, tmp_path)
    spring = await program(connection, minters, **SAFE, **OFF, match="fold")
    await generate(connection, minters, spring.id, 2, None)
    minter = await minters.get(connection, spring.id, 1)
    made, _, mintable = minter.mint(0, 3)

    def attach(code: str) -> Any:
        return manual.attach_named(connection, minters, "SPRING", code, "p-1", uuid7())

    assert (await attach(made.lower())).code == made
    assert "fold onto a code of the template" in await refused(attach(mintable.lower()), "code_folds_alike")
    assert (await attach("OWN-1")).code == "OWN-1"
    await refused(attach("0WN1"), "code_attached")
    await refused(attach("---"), "code_folds_alike")
    done = await files.bring_in(lines(["Code", mintable, mintable.lower(), "0wn-l", "NEW"]))
    assert [reason for *_, reason in await files.bad(done)] == ["folds_alike"] * 3
    await generate(connection, minters, spring.id, 1, None)
    assert await text(ProgramCodes(connection, minters, spring.id), mintable.lower()) == mintable
    assert await audit(connection) == []


async def test_a_remote_service_brings_no_codes_that_are_alike(connection: Connection, minters: Minters) -> None:
    spring = await remote(connection, minters, match="fold", **OFF)
    await generate(connection, minters, spring.id, 8, None)

    assert await store(connection, await taken(connection), [RemoteCode(code="AB-1"), RemoteCode(code="CD-2")]) == 2
    await generate(connection, minters, spring.id, 2, None)
    with pytest.raises(RemoteFailed, match=r"codes\.1\.code: folds onto AB-1"):
        await store(connection, await taken(connection), [RemoteCode(code="EF-3"), RemoteCode(code="ab1")])
    assert await text(ProgramCodes(connection, minters, spring.id), "c d 2") == "CD-2"
    assert await audit(connection) == []


async def test_folding_is_switched_on_where_no_two_codes_meet(
    connection: Connection, minters: Minters, claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding_switch, "_RUN", 2)
    files = Files(connection, minters, tmp_path)
    spring = await program(connection, minters, **SAFE, **OFF)
    codes = ProgramCodes(connection, minters, spring.id)
    await generate(connection, minters, spring.id, 2, None)
    [request] = [message("SPRING")]
    await claims.attach([request])
    returned = (await codes.minter(1)).mint(0, 1)[0]
    await lifecycle.detach(codes, returned)
    await files.bring_in(lines(["Code", "A-1", "B-2", "C-3", "a1", "C3"]))

    def switch(match: str | None) -> Any:
        return programs.update(connection, minters, "SPRING", {"match": match}, 10)

    told = await refused(switch("fold"), "code_folds_alike")
    assert "C3 folds onto C-3" in told
    assert await connection.fetchval("SELECT count(*) FROM folded_text") == 0
    for code in ("a1", "C3"):
        await connection.execute("DELETE FROM code WHERE text = $1", code)
    await connection.execute("UPDATE program SET imported = 3")
    assert (await switch("fold")).match == "fold"
    assert [await text(codes, one) for one in ("b2", returned.lower(), "c 3")] == ["B-2", returned, "C-3"]
    assert await connection.fetchval("SELECT count(*) FROM folded_text") == 3
    # A text that a later template could make, and codes of a template that the new one could be taken for.
    for template, reason in (
        ("{[ABC] 1}-{[123] 1}", "code_folds_alike"), ("S{safe 8}", "template_folds_alike"),
        ("{string 9}", "template_folds_alike"),
    ):  # fmt: skip
        changes = {"source": {"kind": "template", "template": template}, "allow_guessable": True}
        await refused(
            programs.update(connection, minters, "SPRING", {**changes, "codes_max": 9, "pool_max": 1}, 10), reason
        )
    changes = {"source": {"kind": "template", "template": "S-{safe 9}"}}
    await programs.update(connection, minters, "SPRING", changes, 10)
    await generate(connection, minters, spring.id, 1, None)
    newest = (await codes.minter(2)).mint(0, 1)[0]
    assert await text(codes, newest.lower()) == newest
    assert (await switch(None)).match == "exact"
    assert await text(codes, newest.lower()) is None
    assert await connection.fetchval("SELECT count(*) FROM folded_text") == 0
    monkeypatch.setattr(folding_switch, "TEXTS_MAX", 2)
    assert "up to 2 can be folded" in await refused(switch("fold"), "code_folds_alike")


async def test_a_template_that_folds_alike_is_refused_at_creation(connection: Connection, minters: Minters) -> None:
    source = {"kind": "template", "template": "{string 9}"}
    with pytest.raises(TemplateInvalid, match="'A' and 'a' of one place fold alike"):
        await program(connection, minters, source=source, codes_max=1_000, match="fold")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE program SET imported = imported + 1",
        "UPDATE program SET version = version + 1",
        "UPDATE program SET match = 'fold', version_folded = NULL",
        "INSERT INTO folded_text SELECT program_id, folded, 'ab12' FROM folded_text",
    ],
)
async def test_workers_of_an_earlier_release_cannot_bring_in_what_is_not_folded(
    connection: Connection, minters: Minters, tmp_path: Path, statement: str
) -> None:
    await program(connection, minters, **SAFE, **OFF, match="fold")
    await Files(connection, minters, tmp_path).bring_in(lines(["Code", "AB-12"]))

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await connection.execute(statement)


async def test_the_audit_finds_a_text_that_was_not_folded(
    connection: Connection, minters: Minters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(folded_texts, "add", nothing)
    await program(connection, minters, **IMPORT, match="fold")
    await Files(connection, minters, tmp_path).bring_in(lines(["Code", "AB-12", "CD-34"]))

    [finding] = await audit(connection)
    assert finding.rule.says == "a text of a folding program is alike to another one, or was not folded"
    assert finding.breaking == 2
    assert alike("AB-12") == "ab12"
