"""The contract for other languages: AsyncAPI 3.1 with Kafka bindings 0.5, and one JSON Schema a message."""

import json
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from schemas import Browse, DeadLetterHeaders, Product, Purchase, Recommendation, Review, User
from schemas.limits import Message
from schemas.topics import CONFIGURATIONS

BINDING = "0.5.0"
PARTITIONS = 4

CHANNELS: dict[str, tuple[type[Message], str]] = {
    "purchases": (Purchase, "receive"),
    "browses": (Browse, "receive"),
    "reviews": (Review, "receive"),
    "users": (User, "receive"),
    "products": (Product, "receive"),
    "recommendations": (Recommendation, "send"),
    "dead-letters": (DeadLetterHeaders, "send"),
}
"""Topic to message and what the worker does with it."""

_TEXT = {"type": "string"}
CLOUD_EVENT = {
    "type": "object",
    "description": "CloudEvents 1.0, written in Kafka binary mode; read in both modes, as are plain records.",
    "properties": {
        **{f"ce_{name}": _TEXT for name in ("specversion", "id", "source", "type")},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"description": "application/json; read, too: application/cloudevents+json", **_TEXT},
        "traceparent": {**_TEXT, "description": "W3C trace context, passed on up to 256 bytes"},
        "tracestate": {**_TEXT, "description": "passed on up to 512 bytes"},
    },
}


def files() -> dict[str, str]:
    """Relative path to text of everything that is generated."""
    made = {"asyncapi.yaml": yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)}
    for model, _ in CHANNELS.values():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        made[f"json/{model.__name__.lower()}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return made


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document."""
    _, schemas = models_json_schema(
        [(model, "validation") for model, _ in CHANNELS.values()], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "PPRM worker", "version": "1.0.0", "description": "Shoppers' events in, top-K lists out."},
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic) for topic in CHANNELS},
        "operations": {f"{action}_{topic}": _operation(topic, action) for topic, (_, action) in CHANNELS.items()},
        "components": {
            "schemas": {**schemas["$defs"], "CloudEvent": CLOUD_EVENT},
            "messages": {model.__name__: _message(topic) for topic, (model, _) in CHANNELS.items()},
        },
    }


def _channel(topic: str) -> dict[str, Any]:
    name, config = CHANNELS[topic][0].__name__, CONFIGURATIONS[topic]
    kafka = {"topic": topic, "partitions": PARTITIONS, "topicConfiguration": config, "bindingVersion": BINDING}
    return {
        "address": topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": kafka},
    }


def _operation(topic: str, action: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}


def _message(topic: str) -> dict[str, Any]:
    model = CHANNELS[topic][0]
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    dead = model is DeadLetterHeaders
    key = {"type": "string", "description": "product_id" if topic == "products" else "user_id"}
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").split("\n")[0],
        "headers": schema if dead else {"$ref": "#/components/schemas/CloudEvent"},
        "payload": {"description": "the original bytes, whatever they are"} if dead else _nullable(topic, schema),
        "bindings": {"kafka": {"key": {"description": "the original key"} if dead else key, "bindingVersion": BINDING}},
    }


def _nullable(topic: str, schema: dict[str, str]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]} if topic in ("users", "products", "recommendations") else schema
