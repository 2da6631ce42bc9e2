"""Consumers, producers and topics of Kafka, with a limit on everything."""

from codewell.infra.kafka.aiokafka_patch import patch

patch()
