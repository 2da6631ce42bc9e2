"""Consumers, producers and topics of Kafka, with a limit on everything."""

from services.kafka.closed_transports import mend

mend()
