"""`python -m services` is `codewell`."""

from services.cli import main

main()
