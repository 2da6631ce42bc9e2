"""Tests of `codewell_client` on a real Kafka and Postgres."""
