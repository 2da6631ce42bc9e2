"""The site of the workers' tests, here too."""

from tests.integration.issuer.conftest import site

__all__ = ["site"]
