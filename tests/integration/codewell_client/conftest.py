"""The site of the workers' tests, and consoles."""

from tests.integration.console.conftest import consoles
from tests.integration.issuer.conftest import site

__all__ = ["consoles", "site"]
