"""Codes of one program: look-up by text, lifecycle, listing and export."""
