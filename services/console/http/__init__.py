"""Cross-cutting HTTP concerns: authentication, idempotency, limits, problems, pagination."""
