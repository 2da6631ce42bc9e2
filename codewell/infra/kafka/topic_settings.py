"""Sets one setting of topics and leaves their others as they are, which aiokafka's own call does not."""

from collections.abc import Sequence
from typing import Final

from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import admin
from codewell.infra.kafka.config import KafkaConfig

# Numbers of the protocol.
_TOPIC, _SET = 2, 0


async def set_on_topics(kafka_config: KafkaConfig | str, names: Sequence[str], setting: str, value: str) -> None:
    """Set it on each of these topics. Raises StackUnavailable with the first refusal; the others may be set."""
    async with admin(kafka_config) as client:
        # aiokafka has no public call for this request.
        answer = (await client._send_request(_SettingRequest(names, setting, value))).to_object()
    for one in answer["responses"]:
        if one["error_code"]:
            why = one["error_message"] or for_code(one["error_code"]).__name__
            raise StackUnavailable(
                f"Kafka did not set {setting}={value} on topic {one['resource_name']} ({why}): let this user alter the "
                "configuration of topics (AlterConfigs), or have it set by one who may."
            )


# IncrementalAlterConfigs (KIP-339).
class _SettingResponse(Response):
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _SettingStruct(RequestStruct):
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _SettingResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("config_operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _SettingRequest(Request[_SettingStruct]):
    API_KEY: Final = 44

    def __init__(self, names: Sequence[str], setting: str, value: str) -> None:
        self._resources = [(_TOPIC, name, [(setting, _SET, value)]) for name in names]

    def build(self, request_struct_class: type[_SettingStruct]) -> _SettingStruct:
        return request_struct_class(self._resources, False)
