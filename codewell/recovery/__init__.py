"""Recovery: dead letters, and answers that the database lost in a fail-over."""
