"""The stream of codes, without a database."""
