"""Configuration, Postgres, Kafka, HTTP, telemetry and processes. Independent of all domains."""
