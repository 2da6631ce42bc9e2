"""Codes of failed sends: which of them come back, when, and to what."""
