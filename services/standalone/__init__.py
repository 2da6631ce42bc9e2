"""A real Postgres and a real Kafka on one machine, as child processes that end with their parent."""
