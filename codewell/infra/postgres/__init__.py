"""Connections to Postgres, and the schema's migrations."""
