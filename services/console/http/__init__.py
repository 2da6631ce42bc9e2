"""What stands before every endpoint: authentication, idempotency, limits, problems, pagination."""
