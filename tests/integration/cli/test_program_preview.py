"""`codewell program preview-template`: samples and strength of a template, without a program."""

from pathlib import Path

from tests.support.commands import environment
from tests.support.in_process import codewell

# It needs no connection.
ENV = environment(CODEWELL_POSTGRES_URL="postgresql://127.0.0.1:1/x", CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")


async def test_a_template_is_shown(tmp_path: Path) -> None:
    words = ("program", "preview-template", "{safe 12}", "--codes-max", "1000")
    said = (await codewell(*words, env=ENV, cwd=tmp_path)).is_done()
    lines = said.out.splitlines()
    assert all(len(line) == 12 for line in lines[:5])
    assert "practically never" in lines[-1] or "odds" in lines[-1]
    [found] = (await codewell(*words, "--json", env=ENV, cwd=tmp_path)).is_done().objects
    assert (found["valid"], found["length"], found["strength"]["level"]) == (True, 12, "strong")


async def test_a_mistake_is_a_sentence_and_status_1(tmp_path: Path) -> None:
    for words, sentence in (
        (("{numbr 4}",), "unknown"),
        (("{number 1}", "--codes-max", "20"), "fewer than the maximum of 20"),
        (("A", "--codes-max", "0"), "--codes-max: must be at least 1"),
        (("A", "--ttl", "soon"), "--ttl: must be a duration"),
    ):
        said = await codewell("program", "preview-template", *words, env=ENV, cwd=tmp_path)
        assert said.status == 1
        assert sentence in said.err
