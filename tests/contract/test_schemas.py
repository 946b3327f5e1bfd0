import json

import jsonschema
import pytest
import yaml

from schemas.__main__ import FOLDER, main
from schemas.dead_letters import DeadLetterHeaders
from schemas.document import files
from schemas.families import FAMILIES
from schemas.products import Product, Promotion

TIME = "2026-01-02T03:04:05Z"
ACT = {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": TIME}
EXAMPLES = {
    "purchases": ACT | {"quantity": 2, "price": 1.5, "basket_id": "b"},
    "browses": ACT | {"action": "view", "attributes": {"source": "simulated"}},
    "reviews": ACT | {"rating": 4, "text": "good"},
    "requests": {"request_id": "r", "user_id": "u", "occurred_at": TIME},
    "users": {"user_id": "u", "attributes": {"city": "Berlin"}},
    "products": {"product_id": "p", "title": "Milk", "categories": ["FOOD", "DAIRY"],
    "vector": [0.5, -1]},
    "recommendations": {
        "recommendation_id": "0" * 32, "user_id": "u", "version": 7, "generated_at": TIME,
        "trigger": {"kind": "event", "topic": "purchases", "partition": 0, "offset": 1,
        "event_id": "e"},
        "model": {"name": "m", "version": "1", "sha256": "a" * 64},
        "items": [{"product_id": "p", "rank": 1, "score": 0.5, "reasons": ["popular"]}],
    },
}  # fmt: skip


def test_committed_files_are_the_models():
    assert main(["--check"]) == 0


@pytest.mark.parametrize("topic", EXAMPLES)
def test_example_fits_model_and_json_schema(topic):
    model = FAMILIES[topic].message
    model.model_validate_json(json.dumps(EXAMPLES[topic]))
    schema = json.loads(files()[f"json/{model.__name__.lower()}.json"])
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(EXAMPLES[topic])
    assert not validator.is_valid({})


MODELS = [*(family.message for family in FAMILIES.values()), Promotion]
WITH_DEFAULTS = [
    pytest.param(model, name, field, id=f"{model.__name__}.{name}")
    for model in MODELS
    for name, field in model.model_fields.items()
    if not field.is_required() and model is not DeadLetterHeaders
]


@pytest.mark.parametrize(("model", "name", "field"), WITH_DEFAULTS)
def test_null_is_the_default_everywhere_a_default_exists(model, name, field):
    topic = next((name for name, family in FAMILIES.items() if family.message is model), None)
    said = EXAMPLES.get(topic, {}) | {name: None}
    read = model.model_validate_json(json.dumps(said))
    assert getattr(read, name) == field.get_default(call_default_factory=True)
    jsonschema.Draft202012Validator(model.model_json_schema()).validate(said)


def test_nested_nulls_are_defaults_too():
    fields = EXAMPLES["products"] | {
        "promotions": [{"store_ids": None, "starts": None}],
        "categories": ["TEA", None],
    }
    product = Product.model_validate_json(json.dumps(fields))
    assert product.promotions == [Promotion()] and product.categories == ["TEA"]
    jsonschema.Draft202012Validator(Product.model_json_schema()).validate(fields)


def test_the_schema_takes_what_is_mended():
    fields = EXAMPLES["products"] | {
        "title": "t" * 600, "categories": ["c"] * 9,
        "attributes": {"a": 1, "b": True, "c": None, "d" * 65: "e" * 600},
    }  # fmt: skip
    Product.model_validate_json(json.dumps(fields))
    jsonschema.Draft202012Validator(Product.model_json_schema()).validate(fields)


def test_every_reference_of_asyncapi_resolves():
    document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    assert document["asyncapi"] == "3.1.0"

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                at = document
                for part in node["$ref"].removeprefix("#/").split("/"):
                    at = at[part]
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(document)


@pytest.mark.parametrize(
    "wrong",
    [{"user_id": 1}, {"user_id": "é" * 65},
     {"occurred_at": "2026-01-02T03:04:05"}, {"occurred_at": "1999-12-31T00:00:00Z"},
     {"occurred_at": "1700000000"},
     {"quantity": "1"}, {"quantity": True}, {"quantity": -2e6}, {"kind": "refund"}, {"price": -2e9},
     {"occurred_at": 1700000000}],
)  # fmt: skip
def test_limits_of_a_purchase(wrong):
    with pytest.raises(ValueError):
        FAMILIES["purchases"].message.model_validate_json(json.dumps(EXAMPLES["purchases"] | wrong))
