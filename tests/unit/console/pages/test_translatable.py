"""Every sentence of a template passes through `_()`: what a translator would not see is found here."""

import re
from collections.abc import Iterator

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from jinja2 import nodes

from services.console.pages.rendering import ENVIRONMENT, TEMPLATES

NAMES = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html"))
# Attributes that people read or hear.
READ_ATTRIBUTES = ("alt", "aria-label", "aria-description", "placeholder", "title")
# Names of products, and units, are the same in all languages.
SAME_EVERYWHERE = {"Codewell", "Kafka", "Postgres", "UTC"}
_WORD = re.compile(r"[^\W\d_]{2,}")
_TAG = re.compile(r"<(?:\"[^\"]*\"|'[^']*'|[^>\"'])*>")
_ATTRIBUTE = re.compile(r"\b([\w-]+)=(\"[^\"]*\"|'[^']*')")
# Stands for what an expression writes, in a text that is cut at expressions.
_WRITTEN = "\x00"


def untranslated(source: str) -> Iterator[str]:
    """The words of a template's text, and of the attributes that people read, which are written as they are."""
    text = "".join(_texts(ENVIRONMENT.parse(source)))
    text = re.sub(r"<(script|style|svg|code)\b.*?</\1>", "", text, flags=re.DOTALL)
    for tag in _TAG.findall(text):
        for name, value in _ATTRIBUTE.findall(tag):
            if name in READ_ATTRIBUTES:
                yield from _words(value[1:-1])
    # Macros write attributes and addresses outside of a tag.
    yield from _words(re.sub(r"""[\w-]+="[^"]*"|[/?&=#][\w/?&=#\x00.-]*""", " ", _TAG.sub(_WRITTEN, text)))


def _texts(node: nodes.Node) -> Iterator[str]:
    """The template's own text in order, each expression as one character."""
    for output in node.find_all(nodes.Output):
        for one in output.nodes:
            yield one.data if isinstance(one, nodes.TemplateData) else _WRITTEN


def _words(text: str) -> Iterator[str]:
    plain = re.sub(r"&\w+;", " ", text)
    yield from (word for word in _WORD.findall(plain) if word not in SAME_EVERYWHERE)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_has_no_sentence_of_its_own(name: str) -> None:
    assert list(untranslated((TEMPLATES / name).read_text())) == [], f"{name}: put these words into _()"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>{{ _('Sign in') }}</p>", []),
        ("<p>Sign in</p>", ["Sign", "in"]),
        ("<b title=\"{{ _('Copy') }}\">{{ name }}</b>", []),
        ("<b title='Copy it'>{{ name }}</b>", ["Copy", "it"]),
        ("{% if x %}<p>of {{ y }}</p>{% endif %}", ["of"]),
        ("<p>Codewell &amp; 5</p>", []),
    ],
)
def test_words_that_are_not_marked_are_found(source: str, found: list[str]) -> None:
    assert list(untranslated(source)) == found


def test_translators_get_the_sentences_of_templates_and_modules() -> None:
    pages = TEMPLATES.parent
    with (pages / "babel.cfg").open() as config:
        methods, options = parse_mapping_cfg(config)
    found = {
        message[2] if isinstance(message[2], str) else message[2][0]
        for message in extract_from_dir(pages, methods, options)
    }

    assert {"Sign in", "Loyalty", "ends in %(num)d day", "The pool was empty", "%(num)d on this page"} <= found
