"""The sentences of pages, ready to be translated: `_()` marks each, in modules and in templates alike."""

from gettext import NullTranslations
from typing import Final

TRANSLATIONS: Final = NullTranslations()

_ = TRANSLATIONS.gettext
ngettext = TRANSLATIONS.ngettext
