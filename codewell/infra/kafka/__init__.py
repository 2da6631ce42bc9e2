"""Consumers, producers and topics of Kafka, with timeouts and limits on everything."""

from codewell.infra.kafka.aiokafka_patch import patch

patch()
