"""Imports of code files: rows become candidates, chunks of candidates become codes, and an import can be undone."""
