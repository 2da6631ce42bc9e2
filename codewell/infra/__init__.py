"""Configuration, Postgres, Kafka, HTTP, telemetry and processes. Knows no domain."""
