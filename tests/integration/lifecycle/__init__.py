"""The stream of codes on a real database and a real Kafka."""
