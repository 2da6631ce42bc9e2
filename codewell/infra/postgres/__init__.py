"""Connections to Postgres and the migrations that bring its schema up to date."""
