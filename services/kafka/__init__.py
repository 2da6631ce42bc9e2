"""Consumers, producers and topics of Kafka, with a limit on everything."""
