"""The contract for other languages.

It is AsyncAPI 3.1 with Kafka bindings 0.5, and one JSON Schema a message.
"""

import json
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from schemas.dead_letters import DeadLetterHeaders
from schemas.families import FAMILIES, Family

BINDING = "0.5.0"
PARTITIONS = 4

_TEXT = {"type": "string"}
CLOUD_EVENT = {
    "type": "object",
    "description": "CloudEvents 1.0, written in Kafka binary mode;"
    " read in both modes, as are plain records.",
    "properties": {
        **{f"ce_{name}": _TEXT for name in ("specversion", "id", "source", "type")},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {
            "description": "application/json; read, too: application/cloudevents+json",
            **_TEXT,
        },
        "traceparent": {**_TEXT, "description": "W3C trace context, passed on up to 256 bytes"},
        "tracestate": {**_TEXT, "description": "passed on up to 512 bytes"},
    },
}


def files() -> dict[str, str]:
    """Relative path to text of everything that is generated."""
    made = {
        "asyncapi.yaml": yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    }
    for family in FAMILIES.values():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **family.message.model_json_schema(),
        }
        made[f"json/{family.message.__name__.lower()}.json"] = (
            json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        )
    return made


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document."""
    _, schemas = models_json_schema(
        [(family.message, "validation") for family in FAMILIES.values()],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "PPRM worker",
            "version": "1.0.0",
            "description": "Shoppers' events in, top-K lists out.",
        },
        "defaultContentType": "application/json",
        "channels": {family.topic: _channel(family) for family in FAMILIES.values()},
        "operations": {f"{f.action}_{f.topic}": _operation(f) for f in FAMILIES.values()},
        "components": {
            "schemas": {**schemas["$defs"], "CloudEvent": CLOUD_EVENT},
            "messages": {family.message.__name__: _message(family) for family in FAMILIES.values()},
        },
    }


def _channel(family: Family) -> dict[str, Any]:
    name, config = family.message.__name__, family.configuration
    kafka = {
        "topic": family.topic,
        "partitions": PARTITIONS,
        "topicConfiguration": config,
        "bindingVersion": BINDING,
    }
    return {
        "address": family.topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": kafka},
    }


def _operation(family: Family) -> dict[str, Any]:
    return {"action": family.action, "channel": {"$ref": f"#/channels/{family.topic}"}}


def _message(family: Family) -> dict[str, Any]:
    model = family.message
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    dead = model is DeadLetterHeaders
    key = {"type": "string", "description": family.key}
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").split("\n")[0],
        "headers": schema if dead else {"$ref": "#/components/schemas/CloudEvent"},
        "payload": {"description": "the original bytes, whatever they are"}
        if dead
        else _nullable(family, schema),
        "bindings": {
            "kafka": {
                "key": {"description": "the original key"} if dead else key,
                "bindingVersion": BINDING,
            }
        },
    }


def _nullable(family: Family, schema: dict[str, str]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]} if family.takes_null else schema
