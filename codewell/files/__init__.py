"""Reads uploaded tables, and writes CSV. Pure."""
