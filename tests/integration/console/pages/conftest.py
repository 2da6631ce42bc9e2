"""The consoles of the API's tests, here too."""

from tests.integration.console.conftest import consoles, site

__all__ = ["consoles", "site"]
