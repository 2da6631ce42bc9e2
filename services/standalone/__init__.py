"""A real Postgres and a real Kafka on one machine, as ordinary processes that end together with ours."""
