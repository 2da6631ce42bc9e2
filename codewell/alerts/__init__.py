"""Alerts about programs: raise, list, clear."""
