"""Tokens of the HTTP API, failed look-ups, and responses stored under idempotency keys."""
