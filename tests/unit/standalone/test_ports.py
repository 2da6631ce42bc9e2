"""Ports are found by asking the system for a free one, which may answer the same twice."""

from pathlib import Path

import pytest

from services.standalone import kafka
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings


async def test_a_broker_and_its_controller_never_share_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "free_port", iter([50_001, 50_001, 50_001, 50_002]).__next__)
    home = await Home.open(tmp_path)
    broker = KafkaBroker(home, KafkaSettings())
    assert broker._choose_ports(again=True) == 50_002
    assert broker._port == 50_001
    home.close()
